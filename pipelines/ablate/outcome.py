"""The result of an ablation, and its page."""

from dataclasses import dataclass

import numpy as np

from pipelines.evaluate.comparison import main_comparisons, overview
from pipelines.evaluate.figures.pictures import headlines
from pipelines.evaluate.outcome import Evaluation
from pipelines.evaluate.tables import markdown, markdown_overview, markdown_table
from upfusion.prompt_exchange import EXCHANGES

PAPER = ("qp", "vif", "ssim")
"""The columns of the paper's ablation table (arXiv 2511.12432)."""


@dataclass(frozen=True)
class Variant:
    """A row of the table: a network, and its means over sets weighted equally."""

    name: str
    parameters: int
    flops: int
    """Of one pass over a pair of 480x640 pixels."""
    means: dict[str, float]


@dataclass(frozen=True)
class Exchange:
    """The effect of another text: means over sets weighted equally, and the change of the images."""

    name: str
    means: dict[str, float]
    levels: float
    """Mean absolute difference of luma to the images of the right prompt, in grey levels of 255."""


@dataclass(frozen=True)
class Ablation:
    """The result of a measurement."""

    variants: list[Variant]
    exchanges: list[Exchange]
    """Empty for a model that takes no text."""
    parts: Evaluation
    texts: Evaluation | None
    page: str
    """URI of the page of results."""

    @property
    def columns(self) -> list[str]:
        """The metrics of the tables: the balanced forms, then the paper's."""
        measured = self.parts.plan.config.metrics
        return [metric for metric in measured if metric.endswith("_balanced")] + [m for m in PAPER if m in measured]


def means_over_sets(evaluation: Evaluation, method: str) -> dict[str, float]:
    """Return a method's mean of every metric over sets weighted equally."""
    found: dict[str, list[float]] = {}
    for one in main_comparisons(evaluation.comparisons, method):
        for metric in one.metrics:
            if (mean := one.scores[method, metric].mean) is not None:
                found.setdefault(metric, []).append(mean)
    return {metric: float(np.mean(means)) for metric, means in found.items()}


def write_ablation(ablation: Ablation) -> str:
    """Write the page in Markdown: both tables, then the comparisons behind them."""
    sections = ["# Ablation", parts_table(ablation)]
    if ablation.exchanges:
        sections.append(prompts_table(ablation))
    for evaluation in (ablation.parts, ablation.texts):
        if evaluation:
            metrics = headlines(evaluation.plan.config.metrics)
            sections += [markdown_overview(overview(evaluation.comparisons, metric)) for metric in metrics]
            sections.append(markdown(evaluation.comparisons))
    return "\n\n".join(section.strip() for section in sections) + "\n"


def parts_table(ablation: Ablation) -> str:
    """Return the paper's ablation table: the variants, their cost and their means over the sets."""
    rows = [
        [
            variant.name,
            f"{variant.parameters / 1e6:.2f} M",
            f"{variant.flops / 1e9:.1f}",
            *_cells(ablation.columns, variant.means, [other.means for other in ablation.variants]),
        ]
        for variant in ablation.variants
    ]
    header = ["variant", "parameters", "GFLOP at 480x640", *ablation.columns]
    sets = len(ablation.parts.plan.sets)
    return "\n\n".join(
        [
            "## Parts of the network",
            markdown_table(header, rows),
            f"Means over {sets} {'set' if sets == 1 else 'sets'}, sets weighted equally; bold: the best of the column.",
        ]
    )


def prompts_table(ablation: Ablation) -> str:
    """Return the table of the effect of exchanged prompts on metrics and images."""
    rows = [
        [f"{one.name}: {EXCHANGES[one.name]}", f"{one.levels:.2f}", *_cells(ablation.columns, one.means, [])]
        for one in ablation.exchanges
    ]
    return "\n\n".join(
        [
            "## Prompts",
            markdown_table(["prompt", "change in grey levels", *ablation.columns], rows),
            "Change: mean absolute difference of luma to the images of the right prompt, on the scale of 255.",
        ]
    )


def _cells(columns: list[str], means: dict[str, float], rivals: list[dict[str, float]]) -> list[str]:
    cells = []
    for metric in columns:
        if metric not in means:
            cells.append("-")
            continue
        text = f"{means[metric]:.4f}"
        best = rivals and means[metric] >= max(rival.get(metric, -np.inf) for rival in rivals)
        cells.append(f"**{text}**" if best else text)
    return cells
