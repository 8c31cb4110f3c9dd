"""Terminal output of a training run."""

from dataclasses import fields

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from jobs.console.progress import LiveLine
from pipelines.archive.splits import TRAIN, VAL
from pipelines.train.callback import Report
from pipelines.train.data import TrainingPairs
from pipelines.train.job import Listener, TrainOutcome
from pipelines.train.validation import BEST_BY, METRICS
from upfusion.counted import counted
from upfusion.losses import LossWeights

NAMES_SHOWN = 5


class TrainingLine(LiveLine, Listener):
    """One progress line (epoch, step, losses, samples/s, time left), and one that stays for each validation.

    Without a terminal, a line for every entry of the log (--log-every).
    """

    def __init__(self, console: Console) -> None:
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[told]}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        super().__init__(console, bar)
        self.steps = 0
        self.task = self.bar.add_task("starting", total=None, told="")

    def on_check(self, done: int, total: int) -> None:
        self.bar.update(self.task, description="reading pairs", completed=done, total=total, told=f"{done} / {total}")

    def on_pairs(self, pairs: TrainingPairs, steps: int) -> None:
        self.steps = steps
        train = counted(len(pairs.of(TRAIN)), "pair")
        self._say(f"{train} to train on, {len(pairs.of(VAL))} to validate with; {counted(steps, 'step')}")
        if pairs.bad:
            is_skipped = "is skipped" if len(pairs.bad) == 1 else "are skipped"
            self._say(f"{counted(len(pairs.bad), 'pair')} cannot be used and {is_skipped}:", "yellow")
            for row in pairs.bad[:NAMES_SHOWN]:
                self._say(f"  {row['error']}")
            if len(pairs.bad) > NAMES_SHOWN:
                self._say(f"  and {len(pairs.bad) - NAMES_SHOWN} more (listed in data.parquet)")
        self.bar.update(self.task, description="starting workers", completed=0, total=steps, told="")

    def on_report(self, report: Report) -> None:
        if "lost" in report:
            self._say(f"lost {report['lost']}; resuming from the last checkpoint", "yellow")
        if "warning" in report:
            self._say(report["warning"], "yellow")
        if "loss" not in report:
            return
        told = self._told(report)
        self.bar.update(self.task, description="training", completed=report["step"], total=self.steps, told=told)
        if not self.console.is_terminal:
            self._say(told)
        if "validation_seconds" in report:
            values = ", ".join(f"{name} {report[f'val_{name}']:.3f}" for name in METRICS if f"val_{name}" in report)
            best = " (best so far)" if report["best"] and report["best"]["step"] == report["step"] else ""
            self._say(f"validation after epoch {report['epoch']:.2f}, step {report['step']}: {values}{best}")

    def _told(self, report: Report) -> str:
        parts = [f"{term.name} {report[term.name]:.4f}" for term in fields(LossWeights) if term.name in report]
        crops_a_step = report["crops_a_step"]
        left = (self.steps - report["step"]) * crops_a_step / report["samples_per_second"]
        return (
            f"epoch {report['epoch']:.2f}, step {report['step']} / {self.steps}, loss {report['loss']:.4f} "
            f"({', '.join(parts)}), {report['samples_per_second']:.1f} samples/s, {_duration(left)} left"
        )

    def _say(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def print_trained(console: Console, outcome: TrainOutcome) -> None:
    """Print the outcome of a run. Paths stay on one line, so that they can be copied."""
    lines = {"Trained": counted(outcome.steps, "step") + ("" if outcome.seconds else ", already done")}
    if outcome.best:
        lines["Best"] = f"{BEST_BY} {outcome.best['value']:.4f} in validation, after step {outcome.best['step']:.0f}"
    if outcome.registered:
        lines["Registry"] = escape(outcome.registered)
    if outcome.tracked:
        lines["MLflow"] = escape(outcome.tracked)
    lines["Pairs"] = escape(outcome.folder.data)
    lines["Report"] = escape(outcome.folder.report)
    lines["Model"] = escape(outcome.folder.model)
    for heading, text in lines.items():
        console.print(f"[bold]{heading:9s}[/] {text}", highlight=False, soft_wrap=True)
    console.print(
        f"Use it: upfusion fuse SOURCE --model {outcome.folder.model} --out DEST", soft_wrap=True, markup=False
    )


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return (
        f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min" if minutes else "under 1 min"
    )
