"""The progress line of a job."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from pipelines.cluster import runner


PLAIN_LINE_SECONDS = 10.0


class Activity:
    """What a command does before there is progress to show: a line that is redrawn, and nothing in a log."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._status = console.status("")

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def show(self, doing: str) -> None:
        """Show what is done now."""
        self._status.update(escape(doing))


class LiveLine:
    """A line that is redrawn while a `with` block runs; `bar` is not drawn without a terminal."""

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
    """One progress line: done / total, pairs/s, time left, failures. Without a terminal, a line every few seconds."""

    def __init__(self, console: Console, doing: str = "fusing", done: str = "fused") -> None:
        self.doing, self.done = doing, done
        bar = Progress(
            TextColumn("{task.description}"),
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
        self.started = self.reported_at = time.monotonic()
        self.task = self.bar.add_task(escape(doing), total=None, visible=False, unit="")

    def update(self, progress: "runner.Progress") -> None:
        """Show the progress of the job."""
        now = time.monotonic()
        unit = progress.unit.removesuffix("s") if progress.total == 1 else progress.unit
        if progress.done == 0:
            self.started = now
        self.bar.update(
            self.task,
            description=escape(progress.doing or self.doing),
            total=progress.total,
            completed=progress.done,
            visible=True,
            failed=progress.failed,
            unit=unit,
        )
        if progress.notice:
            self.console.print(progress.notice, markup=False, highlight=False, soft_wrap=True)
            return
        if progress.stalled:
            self.console.print(progress.stalled, style="yellow", markup=False, highlight=False, soft_wrap=True)
            return
        finished = progress.done == progress.total
        if not self.console.is_terminal and (finished or now - self.reported_at >= PLAIN_LINE_SECONDS):
            self.reported_at = now
            speed = progress.done / max(now - self.started, 1e-9)
            line = f"{self.done} {progress.done} / {progress.total} {unit}"
            if progress.doing:
                line = f"{progress.doing} {progress.unit}: {progress.done} of {progress.total}"
            self.console.print(f"{line}, {speed:.2f}/s, {progress.failed} failed", markup=False)


class _Speed(ProgressColumn):
    """Items per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed / task.elapsed:.2f}/s" if task.elapsed and task.completed else "starting")


class _Failures(ProgressColumn):
    """Number of failures, if any."""

    def render(self, task: Task) -> Text:
        failed = task.fields.get("failed", 0)
        return Text(f"{failed} failed" if failed else "", style="red")
