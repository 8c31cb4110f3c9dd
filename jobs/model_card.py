"""Terminal output of a model card."""

from dataclasses import fields

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.checkpoints.describe import ModelInfo
from upfusion.checkpoint import Checkpoint
from upfusion.presets import PRESETS, NetworkConfig

SHAPE = (
    "channels",
    "widths",
    "blocks",
    "heads",
    "refinement_blocks",
    "text_dim",
    "text_encoder",
    "prior_depths",
    "prior_widths",
)
"""Fields that have lines of their own, and so are no departures to list."""


def print_model(console: Console, info: ModelInfo) -> None:
    """Print the model card of a preset or a checkpoint."""
    checkpoint, parameters = info.checkpoint, info.parameters
    console.print(f"[bold]{escape(info.name)}[/] ({_kind(checkpoint)})\n", highlight=False)
    lines = architecture(info.config)
    lines["Parameters"] = f"{_millions(parameters.total)}, of these {_millions(parameters.trainable)} trainable"
    print_lines(console, lines | (_provenance(checkpoint) if checkpoint else {}))
    costs = Table("height x width", box=None, pad_edge=False)
    for heading in ("GFLOP", "memory (float32)"):
        costs.add_column(heading, justify="right")
    for (height, width), cost in info.costs.items():
        costs.add_row(f"{height}x{width}", f"{cost.flops / 1e9:,.0f}", f"{cost.memory / 2**30:.2f} GiB")
    console.print(costs)
    if checkpoint and checkpoint.provenance.metrics:
        console.print("", _metrics_table(checkpoint.provenance.metrics))
    if checkpoint and checkpoint.prompts:
        prompts = Table("prompt", "text", box=None, pad_edge=False)
        for name, prompt in checkpoint.prompts.items():
            prompts.add_row(escape(name), escape(prompt.text))
        console.print("", prompts)


def print_lines(console: Console, lines: dict[str, str]) -> None:
    """Print headings with their texts, without empty ones."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    for heading, text in lines.items():
        if text:
            grid.add_row(f"[bold]{heading}[/]", escape(text))
    console.print(grid, "", highlight=False)


def architecture(config: NetworkConfig) -> dict[str, str]:
    """Return the architecture of a network, by heading."""
    return {
        "Network": f"widths {_row(config.level_widths)}, blocks {_row(config.blocks)}, heads {_row(config.heads)}",
        "Retention": f"SCPM {config.scpm_retention:g}, TCPM {config.tcpm_retention:g}, "
        f"attention {config.attention_retention:g}",
        "Prior": _prior(config) if config.scpm else "none",
        "Text": f"{_encoder(config)}, T = {config.text_dim}" if config.takes_text else "none",
        "Guidance": _guidance(config),
        "Not as in paper": ", ".join(_departures(config)),
    }


def _kind(checkpoint: Checkpoint | None) -> str:
    if checkpoint is None:
        return "preset, ships without trained weights"
    return "checkpoint" if checkpoint.provenance.trained else "untrained checkpoint"


def _prior(config: NetworkConfig) -> str:
    architecture = f"ConvNeXt with depths {_row(config.prior_depths)} and widths {_row(config.prior_widths)}"
    origin = f"pretrained as {config.prior} (timm)" if config.prior else "weights inside the checkpoint"
    return f"{architecture}, {origin}, {'trained with the rest' if config.prior_trained else 'frozen'}"


def _guidance(config: NetworkConfig) -> str:
    """Say what a text or a number can do to the result."""
    if config.takes_balance:
        return "--balance from -1 (A) to 1 (B); texts ask for a balance, bright targets, a lifted dark, less noise"
    return "a text reorders TCPM's channels, without a measured effect; no balance" if config.takes_text else "none"


def _encoder(config: NetworkConfig) -> str:
    if config.text_encoder is None:
        return "unknown encoder"
    return f"{config.text_encoder} ({'open_clip' if '/' in config.text_encoder else 'sentence-transformers'})"


def _departures(config: NetworkConfig) -> list[str]:
    paper = PRESETS["paper"]
    differing = [
        field.name
        for field in fields(config)
        if field.name not in (*SHAPE, "prior") and getattr(config, field.name) != getattr(paper, field.name)
    ]
    return [f"{name} = {getattr(config, name)}" for name in differing]


def _provenance(checkpoint: Checkpoint) -> dict[str, str]:
    provenance = checkpoint.provenance
    return {
        "Data": provenance.data,
        "Epochs": f"{provenance.epochs:g}" if provenance.epochs is not None else "",
        "Training": ", ".join(f"{name} {value}" for name, value in provenance.training.items()),
        "Commit": provenance.git_commit or "",
        "Licence": provenance.licence,
        "Notes": "; ".join(provenance.notes),
        "Prompts": "" if checkpoint.prompts else "none embedded: each is encoded when a job needs it",
        "Digest": checkpoint.digest,
    }


def _metrics_table(metrics: dict[str, dict[str, float]]) -> Table:
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    table = Table("test set (pairs)", *map(escape, names), box=None, pad_edge=False)
    for test_set, values in metrics.items():
        table.add_row(escape(test_set), *(f"{values[name]:.3f}" if name in values else "" for name in names))
    return table


def _row(numbers: tuple[int, ...]) -> str:
    return " ".join(map(str, numbers))


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M"
