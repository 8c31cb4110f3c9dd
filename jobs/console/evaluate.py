"""Terminal output of an evaluation."""

from itertools import groupby
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jobs.console.progress import ProgressLine
from pipelines.cluster.runner import Progress
from pipelines.evaluate.comparison import Comparison, best_and_second
from pipelines.evaluate.findings import describe_kind, group_findings
from pipelines.evaluate.outcome import Evaluation
from pipelines.evaluate.plan import EvaluationPlan
from upfusion.counted import counted
from upfusion.metrics import METRICS

LINES_SHOWN, NAMES_SHOWN = 6, 3
COLUMN = 10  # characters of a metric
FIRST_COLUMNS = 34


class EvaluationLine:
    """One progress line per stage."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.stage = ""
        self.line: ProgressLine | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def update(self, stage: str, progress: Progress) -> None:
        """Show the progress of a stage."""
        if stage != self.stage:
            self._end()
            self.stage = stage
            self.line = ProgressLine(self.console, stage, f"{stage}:")
            self.line.__enter__()
        assert self.line is not None
        self.line.update(progress)

    def _end(self) -> None:
        if self.line:
            self.line.__exit__(None, None, None)


def print_plan(console: Console, plan: EvaluationPlan) -> None:
    """Print what will be compared, and what has no partner."""
    for one in plan.sets:
        others = f", {counted(len(one.others), 'other')} left out" if one.others else ""
        pairs = counted(len(one.ids), "pair")
        console.print(f"set {one.name}: {pairs} ({one.tasks}){others}", markup=False, highlight=False)
        for (method, name), matched in plan.matched.items():
            if name == one.name and matched.images and (len(matched.images) < len(one.ids) or matched.extra):
                extra = f", and {len(matched.extra)} of no pair" if matched.extra else ""
                sentence = f"  {method} has images of {len(matched.images)} of them{extra}"
                console.print(sentence, style="yellow", markup=False, highlight=False)


def print_evaluation(console: Console, evaluation: Evaluation) -> None:
    """Print the tables, the findings, and the paths of the results."""
    for comparison in evaluation.comparisons:
        print_comparison(console, comparison)
    if evaluation.detected:
        console.print(_detection_table(evaluation), "")
    for kind, group in groupby(group_findings(evaluation.findings), key=lambda one: one.kind):
        groups = list(group)
        number = sum(len(one.names) for one in groups)
        console.print(f"[yellow]{describe_kind(kind, number)}[/]:", highlight=False)
        for one in groups[:LINES_SHOWN]:
            console.print(f"  {one.line(NAMES_SHOWN)}", markup=False, highlight=False, soft_wrap=True)
        if len(groups) > LINES_SHOWN:
            console.print(f"  and {counted(len(groups) - LINES_SHOWN, 'more such line')}, in results.md")
    counts, folder = evaluation.counts, evaluation.folder
    before = counts["fusions"] - counts["missing"] - evaluation.measured_now
    lines = {"Measured": counted(evaluation.measured_now, "fusion") + (f" ({before} were before)" if before else "")}
    if evaluation.failed:
        lines["Failed"] = f"[red]{counted(evaluation.failed, 'fusion')}[/]"
    if evaluation.tracked:
        lines["MLflow"] = escape(evaluation.tracked)
    if evaluation.findings:
        lines["Noticed"] = escape(folder.findings)
    lines |= {"Values": escape(folder.values), "Tables": escape(folder.csv)}
    if not evaluation.plan.config.no_pictures:
        lines["Pictures"] = escape(folder.pictures)
    lines["Results"] = escape(folder.page)
    for heading, text in lines.items():
        console.print(f"[bold]{heading:9s}[/] {text}", highlight=False, soft_wrap=True)


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print the means of as many metrics as fit, the balanced ones first; best in bold green, second underlined."""
    metrics = comparison.metrics[: max(1, (console.width - FIRST_COLUMNS) // COLUMN)]
    # Not as the table's own title or caption, which would be wrapped to the table's width.
    console.print(f"[bold]{_title(comparison)}[/]", highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    table.add_column("method")
    table.add_column("rank", justify="right")
    for metric in metrics:
        lower = METRICS[metric].higher_is_better is False
        table.add_column(metric.replace("_balanced", "_bal") + (" (low)" if lower else ""), justify="right")
    marks = {metric: best_and_second(comparison, metric) for metric in metrics}
    for method in comparison.methods:
        rank = comparison.balanced_rank[method]
        cells = [_cell(comparison, method, metric, *marks[metric]) for metric in metrics]
        table.add_row(escape(method), "" if rank is None else f"{rank:.1f}", *cells)
    console.print(table)
    console.print(f"{_caption(comparison, len(comparison.metrics) - len(metrics))}\n", style="dim", highlight=False)


def _title(comparison: Comparison) -> str:
    title = f"{escape(comparison.set)}: {comparison.pairs} of {counted(comparison.of, 'pair')}"
    return f"{title}, those that {escape(', '.join(comparison.limited_by))} has" if comparison.limited_by else title


def _caption(comparison: Comparison, left_out: int) -> str:
    notes = [f"* differs from {escape(comparison.reference)} (95 % interval)"]
    notes += [f"{counted(left_out, 'more metric')} in results.md"] if left_out else []
    notes += [f"no image of {escape(', '.join(comparison.absent))}"] if comparison.absent else []
    return "; ".join(notes)


def _cell(comparison: Comparison, method: str, metric: str, best: set[str], second: set[str]) -> str:
    figure = comparison.scores[method, metric]
    if figure.mean is None:
        return "-"
    text = f"{figure.mean:.3f}{'*' if figure.significant else ' '}"
    if method in best:
        return f"[bold green]{text}[/]"
    return f"[underline]{text}[/]" if method in second else text


def _detection_table(evaluation: Evaluation) -> Table:
    table = Table(title="Pedestrian detection", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in ("set", "images of"):
        table.add_column(heading)
    for heading in ("AP50", "AP", "pairs", "people"):
        table.add_column(heading, justify="right")
    for one in evaluation.detected:
        numbers = ["-" if value is None else f"{value:.3f}" for value in (one.precision.ap50, one.precision.ap)]
        counts = [str(one.precision.images), str(one.precision.people)]
        table.add_row(escape(one.set), escape(one.method), *numbers, *counts)
    return table
