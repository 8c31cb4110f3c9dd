"""Running a graph to its end: how far it is, why it does not proceed, and what stops it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa
import ray.data

from pipelines.cluster import graph_watchdog
from pipelines.cluster.graph_watchdog import Diagnosis, GraphStoppedError, GraphWatchdog
from pipelines.cluster.heartbeat import read_beats
from pipelines.cluster.runner import Built, Progress, Workers, advance
from pipelines.errors.exceptions import JobStoppedError

IN_VAIN = 2
"""After so many graphs in a row that have finished nothing, a job stops."""
RESUME = "Progress is saved; rerun the same command to resume."


class ClusterLostError(JobStoppedError):
    """A cluster that has lost too much for the job to proceed."""


def run_to_end(build: Callable[[], Built | None], on_progress: Callable[[Progress], None], unit: str = "pairs") -> None:
    """Run the graph of what is left to do; where it cannot proceed, build it anew for the nodes that are left.

    `build` returns the graph of all that has no row yet, spread over the cluster as it is when it is called; None
    where nothing is left. Raises ClusterLostError where no node is left that could hold a worker, or where two graphs
    in a row finish nothing; StoreLostError as soon as a row could not be written.
    """
    last = Progress(0, unit=unit)
    in_vain = 0

    def follow(progress: Progress) -> None:
        nonlocal last
        last = replace(progress, stalled=None, notice=None)
        on_progress(progress)

    while (built := build()) is not None:
        begun = replace(last, total=last.total or built.rows, done=max(0, last.total - built.rows))
        if built.workers.why:
            on_progress(replace(begun, notice=built.workers.why))
        try:
            run_graph(built.graph, begun, built.workers, follow, is_resumed=last.total > 0)
        except GraphStoppedError as error:
            in_vain = in_vain + 1 if last.done == begun.done else 0
            if error.diagnosis.is_final or in_vain == IN_VAIN:
                raise ClusterLostError(f"{error}. {RESUME}") from error
            on_progress(replace(last, stalled=f"{error}: restarting with the remaining work"))
        else:
            return


def run_graph(
    graph: ray.data.Dataset,
    begun: Progress,
    workers: Workers,
    on_progress: Callable[[Progress], None],
    *,
    is_resumed: bool = False,
) -> None:
    """Run a graph whose last stage returns OUTCOME of each row, `begun` saying how many are left.

    `is_resumed` where another graph has run on this cluster before.

    Raises StoreLostError as soon as a row could not be written, GraphStoppedError when nothing can proceed, and what
    Ray raises when work is lost more often than it is begun again.
    """
    progress = begun
    on_progress(progress)

    def on_stall(reason: str) -> None:
        on_progress(replace(progress, stalled=reason))

    watchdog = GraphWatchdog(workers, lambda: read_beats(graph.context), on_stall, has_worked=is_resumed)
    with _watched(watchdog, graph):
        for written in graph.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            assert isinstance(written, pa.Table)
            watchdog.progress()
            progress = advance(progress, written)
            on_progress(progress)


@contextmanager
def _watched(watchdog: GraphWatchdog, graph: ray.data.Dataset) -> Iterator[None]:
    """Let a watchdog look at a graph from a thread of its own, and stop it where it cannot proceed."""
    over, verdict = threading.Event(), list[Diagnosis]()
    graph_watchdog.stop_on(verdict, graph.context)

    def look() -> None:
        while not verdict and not over.wait(graph_watchdog.CHECK_SECONDS):
            if diagnosis := watchdog.check():
                verdict.append(diagnosis)

    thread = threading.Thread(target=look, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=10)
