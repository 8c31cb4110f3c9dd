"""Running a graph to its end: how far it is, why it does not move, and what stops it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pyarrow as pa
import ray.data

from pipelines.cluster.ray_cluster import Workers, why_waiting
from pipelines.cluster.watchdog import watching
from pipelines.errors.exceptions import JobStoppedError


@dataclass(frozen=True)
class Progress:
    """How far a job is, in rows of this run."""

    total: int
    done: int = 0
    failed: int = 0
    stalled: str | None = None
    """Why nothing has moved for long."""
    unit: str = "pairs"
    """What the rows are."""


class StoreLostError(JobStoppedError):
    """A store that can no longer be read or written."""


def run_graph(
    graph: ray.data.Dataset,
    total: int,
    workers: Workers,
    on_progress: Callable[[Progress], None],
    unit: str = "pairs",
) -> None:
    """Run a graph whose last stage returns OUTCOME of each row, one for each of so many `unit`.

    Raises StoreLostError as soon as a row could not be written, and what Ray raises when work is lost more often than
    it is begun again.
    """
    progress = Progress(total, unit=unit)
    on_progress(progress)

    def on_quiet(seconds: float) -> None:
        on_progress(replace(progress, stalled=f"nothing finished for {seconds:.0f} s: {why_waiting(workers)}"))

    with watching(on_quiet) as moved:
        for written in graph.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            assert isinstance(written, pa.Table)
            moved()
            if lost := written["stopped"].drop_null():
                raise StoreLostError(
                    f"{lost[0]}. Nothing is wrong with the pairs: progress is saved, and the same command resumes "
                    "once that is fixed."
                )
            done = progress.done + written.num_rows
            failed = progress.failed + written.num_rows - written["error_code"].null_count
            progress = replace(progress, done=done, failed=failed)
            on_progress(progress)
