"""What a person sees at the terminal."""

import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from jobs.terminal import Terminal
from pipelines.errors.escaping import printable
from pipelines.errors.exceptions import JobStoppedError, RequestError
from pipelines.storage import objects as storage

if TYPE_CHECKING:
    from pipelines.archive.discover import Discovery
    from pipelines.cluster import execute as run_graph
    from pipelines.fuse import job as fuse

PLAIN_LINE_SECONDS = 10.0
NAMES_SHOWN = 5
SAID_SHOWN = 4000  # characters
COLOUR = re.compile(r"\x1b\[[\d;]*m")


@contextmanager
def quiet(verbose: bool) -> Iterator[Console]:
    """Give a console on the terminal while everything else that is written there goes to a file.

    Ray's core and database migrations write from C++ and from threads, past every logging setting. What was
    written is shown when the work fails.
    """
    if verbose:
        yield Terminal(stderr=True)
        return
    with (
        tempfile.TemporaryFile("w+b") as said,
        os.fdopen(os.dup(1), "w", encoding="utf-8") as output,
        os.fdopen(os.dup(2), "w", encoding="utf-8") as terminal,
    ):
        _point_streams_at(said.fileno(), said.fileno())
        try:
            yield Terminal(file=terminal)
        except (RequestError, JobStoppedError):
            raise
        except Exception:
            said.seek(0)
            tail = COLOUR.sub("", said.read().decode(errors="replace"))[-SAID_SHOWN:]
            terminal.write(printable(storage.without_secrets(tail)))
            raise
        finally:
            _point_streams_at(output.fileno(), terminal.fileno())


def _point_streams_at(output: int, errors: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(output, 1)
    os.dup2(errors, 2)


class LiveLine:
    """A line that is drawn again and again while a `with` block runs; `bar` is not drawn without a terminal."""

    def __init__(self, console: Console, bar: Progress) -> None:
        self.console = console
        self.bar = bar

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()


class ProgressLine(LiveLine):
    """One calm line: done / total, pairs a second, time left, failures. Without a terminal, a line now and then."""

    def __init__(self, console: Console, doing: str = "fusing", done: str = "fused") -> None:
        self.done = done
        bar = Progress(
            TextColumn(escape(doing)),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:.0f} / {task.total:.0f} {task.fields[unit]}"),
            _Speed(),
            TimeRemainingColumn(compact=True),
            _Failures(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        super().__init__(console, bar)
        self.started = self.said = time.monotonic()
        self.task = self.bar.add_task("starting", total=None, visible=False, unit="")

    def update(self, progress: "run_graph.Progress") -> None:
        """Show how far the job is."""
        now = time.monotonic()
        if progress.done == 0:
            self.started = now
        self.bar.update(
            self.task,
            total=progress.total,
            completed=progress.done,
            visible=True,
            failed=progress.failed,
            unit=progress.unit,
        )
        if progress.stalled:
            self.console.print(progress.stalled, style="yellow", markup=False, highlight=False, soft_wrap=True)
            return
        finished = progress.done == progress.total
        if not self.console.is_terminal and (finished or now - self.said >= PLAIN_LINE_SECONDS):
            self.said = now
            speed = progress.done / max(now - self.started, 1e-9)
            told = f"{self.done} {progress.done} / {progress.total} {progress.unit}"
            self.console.print(f"{told}, {speed:.2f} a second, {progress.failed} failed", markup=False)


class _Speed(ProgressColumn):
    """Pairs, or whatever is counted, a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed / task.elapsed:.2f} a second" if task.elapsed and task.completed else "starting")


class _Failures(ProgressColumn):
    """How many failed, where some did."""

    def render(self, task: Task) -> Text:
        failed = task.fields.get("failed", 0)
        return Text(f"{failed} failed" if failed else "", style="red")


def say_unpaired(console: Console, found: "Discovery") -> None:
    """Tell which images have no partner."""
    if not found.unpaired:
        return
    console.print(f"[yellow]{len(found.unpaired)} images have no partner and are left out:[/]")
    for uri in found.unpaired[:NAMES_SHOWN]:
        console.print(f"  {uri}", highlight=False, markup=False, soft_wrap=True)
    if len(found.unpaired) > NAMES_SHOWN:
        console.print(f"  and {len(found.unpaired) - NAMES_SHOWN} more")


def say_outcome(console: Console, outcome: "fuse.Outcome") -> None:
    """Show what a job left behind. Places stay on one line, however narrow the terminal, to be copied."""
    if outcome.aggregates:
        console.print(metrics_table(outcome.aggregates))
    done = f"{outcome.ok} of {outcome.pairs} {outcome.unit} fused"
    if before := outcome.pairs - outcome.fused_now:
        done += f" ({before} of the {outcome.unit} were done before)"
    lines = {"Result": f"{done}, [red]{outcome.failed} failed[/]" if outcome.failed else f"[green]{done}[/]"}
    if outcome.recordings:
        lines["Joined"] = _said_of_recordings(outcome)
    if outcome.unpaired:
        lines["Left out"] = f"{len(outcome.unpaired)} images without a partner (the report names them)"
    if outcome.fused_now:
        lines["Speed"] = f"{outcome.fused_now / outcome.seconds:.2f} {outcome.unit} a second, start included"
    lines["Rows"] = escape(f"{outcome.destination.pairs}/*.parquet")
    if outcome.tracked:
        lines["MLflow"] = escape(outcome.tracked)
    lines["Report"] = escape(outcome.destination.report)
    for heading, text in lines.items():
        console.print(f"[bold]{heading:9s}[/] {text}", highlight=False, soft_wrap=True)


def _said_of_recordings(outcome: "fuse.Outcome") -> str:
    """Say how many recordings lie where, and which spans are missing in some."""
    joined = [one for one in outcome.recordings if one["uri"]]
    lines = [escape(f"{len(joined)} of {len(outcome.recordings)} recordings in {outcome.destination.recordings}")]
    incomplete = [one for one in outcome.recordings if one["missing"] or (one["note"] and not one["uri"])]
    shown = incomplete[:NAMES_SHOWN]
    lines += [f"[yellow]{escape(one['recording'])}[/]: {escape(missing_spans(one))}" for one in shown]
    if len(incomplete) > NAMES_SHOWN:
        lines.append(f"and {len(incomplete) - NAMES_SHOWN} more with gaps (recordings/*.json)")
    return "\n          ".join(lines)


def missing_spans(recording: dict[str, Any]) -> str:
    """Say which spans of a recording are missing and why."""
    spans = []
    for span in recording["missing"]:
        start, end = (None if at is None else f"{at:.2f}" for at in (span["from"], span["to"]))
        place = "all of it" if start is None else f"{start} s to {f'{end} s' if end else 'its end'}"
        spans.append(f"{place} ({span['error_code']})")
    return "; ".join(["missing " + ", ".join(spans)] * bool(spans) + [recording["note"]] * bool(recording["note"]))


def metrics_table(aggregates: dict[str, dict[str, float]]) -> Table:
    """Show how metrics are spread over many pairs."""
    from upfusion.metrics import METRICS

    table = Table(box=None, pad_edge=False)
    table.add_column("metric", min_width=max(map(len, aggregates)))
    for heading in ("mean", "p5", "median", "p95"):
        table.add_column(heading, justify="right")
    table.add_column("", style="dim", no_wrap=True)
    for name, values in aggregates.items():
        numbers = [f"{values[key]:.3f}" for key in ("mean", "p5", "p50", "p95")]
        lower = " (lower is better)" if METRICS[name].higher_is_better is False else ""
        table.add_row(name, *numbers, METRICS[name].title + lower)
    return table
