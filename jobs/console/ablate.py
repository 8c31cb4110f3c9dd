"""Terminal output of an ablation."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jobs.console.evaluate import EvaluationLine
from jobs.console.train import TrainingLine
from pipelines.ablate.outcome import Ablation
from pipelines.cluster.runner import Progress
from upfusion.prompt_exchange import EXCHANGES


class AblationLine(EvaluationLine):
    """One progress line: a training run per variant, then fusing and measuring."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.training: TrainingLine | None = None

    def on_training(self, variant: str) -> TrainingLine:
        """Start the line of a variant's training."""
        self._end_training()
        self.console.print(f"variant {variant}", markup=False, highlight=False)
        self.training = TrainingLine(self.console)
        self.training.__enter__()
        return self.training

    def update(self, stage: str, progress: Progress) -> None:
        self._end_training()
        super().update(stage, progress)

    def __exit__(self, *error: object) -> None:
        self._end_training()
        super().__exit__(*error)

    def _end_training(self) -> None:
        if self.training:
            self.training.__exit__(None, None, None)
            self.training = None


def print_ablation(console: Console, ablation: Ablation) -> None:
    """Print the paper's ablation table, and the effect of the text."""
    parts = Table("variant", box=None, pad_edge=False, title="Parts of the network", title_justify="left")
    for heading in ("parameters", "GFLOP", *ablation.columns):
        parts.add_column(heading, justify="right")
    for variant in ablation.variants:
        costs = [f"{variant.parameters / 1e6:.2f} M", f"{variant.flops / 1e9:.1f}"]
        parts.add_row(variant.name, *costs, *_numbers(ablation, variant.means))
    console.print(parts, "")
    if ablation.exchanges:
        prompts = Table("prompt", box=None, pad_edge=False, title="Prompts", title_justify="left")
        for heading in ("change in levels", *ablation.columns):
            prompts.add_column(heading, justify="right")
        for one in ablation.exchanges:
            label = f"{one.name}: {EXCHANGES[one.name]}"
            prompts.add_row(label, f"{one.levels:.2f}", *_numbers(ablation, one.means))
        console.print(prompts, "")
    else:
        console.print("The model takes no text, so there are no prompts to exchange.\n")
    sets = len(ablation.parts.plan.sets)
    console.print(f"Means over {sets} {'set' if sets == 1 else 'sets'}, sets weighted equally.", highlight=False)
    console.print(f"[bold]Results[/]   {escape(ablation.page)}", highlight=False, soft_wrap=True)


def _numbers(ablation: Ablation, means: dict[str, float]) -> list[str]:
    return [f"{means[metric]:.4f}" if metric in means else "-" for metric in ablation.columns]
