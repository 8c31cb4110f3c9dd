"""Running the stages of a small job in this process: the same blocks and rows as on Ray, without seconds of start."""

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from pipelines.cluster.environment import is_remote, usable_cpus
from pipelines.cluster.runner import PAIRS_WORTH_A_COPY, Built, Progress, Workers, advance
from pipelines.config.fields import RunnerChoice
from pipelines.errors.exceptions import UsageError
from upfusion.counted import counted

FEW_PAIRS = 100
"""From so many pairs on a Ray of this machine pays: it takes 15 to 30 seconds to start and to end."""
SEGMENT_IN_PAIRS = 50
"""A segment of a recording has hundreds of frames: two of them are worth two processes."""
RAYS_BLOCK_BYTES = 128 << 20
"""Ray Data's own bound of a block."""


def runs_inline(choice: RunnerChoice, actors: int | None, gpus_per_actor: float | None, pairs: int) -> bool:
    """Tell whether a job of so many pairs runs in this process.

    `auto` does so where there is no Ray to join, nothing was asked for that only Ray gives, and the pairs are few.
    """
    if choice != "auto":
        return choice == "inline"
    asks_for_ray = (actors or 1) > 1 or gpus_per_actor not in (None, 0, 1)
    return not (is_remote() or _is_connected() or asks_for_ray) and pairs < FEW_PAIRS


def _is_connected() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()


@dataclass(frozen=True)
class InlineGraph:
    """Blocks that come out of the last stage when they are asked for."""

    blocks: Iterator[pa.Table]
    max_block_bytes: int


class InlineRunner:
    """Runs one block at a time through all stages; the next one is read meanwhile."""

    job_id = None

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "read-ahead")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def workers(
        self,
        actors: int | None,  # noqa: ARG002  # a process has one copy
        gpus_per_actor: float | None,
        pairs: int,  # noqa: ARG002
        pairs_worth_a_copy: int = PAIRS_WORTH_A_COPY,  # noqa: ARG002
    ) -> Workers:
        """Return one worker with all CPUs of this process, on the GPU where there is one; raises UsageError."""
        import torch

        there = torch.cuda.is_available()
        if gpus_per_actor and not there:
            raise UsageError(f"--gpus-per-actor {gpus_per_actor:g}: this machine has no GPU; 0 runs on CPUs")
        gpus = 1.0 if there and gpus_per_actor != 0 else 0.0
        threads = 1 if gpus else usable_cpus()
        place = "on the GPU" if gpus else f"on {counted(threads, 'CPU thread')}"
        return Workers(1, 1.0, gpus, threads, why=f"in this process, {place}; --runner ray starts Ray instead")

    def begin_with(self, blocks: list[pa.Table], max_block_bytes: int | None = None) -> InlineGraph:
        """Begin a graph with these blocks."""
        return InlineGraph(iter(blocks), max_block_bytes or RAYS_BLOCK_BYTES)

    def add_tasks(
        self,
        graph: InlineGraph,
        stage: Callable[..., Any],
        *arguments: Any,
        workers: Workers | None = None,  # noqa: ARG002  # for Ray
    ) -> InlineGraph:
        """Append a function of a block and `arguments` that returns a block or yields several."""

        def made() -> Iterator[pa.Table]:
            for block in graph.blocks:
                out = stage(block, *arguments)
                yield from join_small([out] if isinstance(out, pa.Table) else out, graph.max_block_bytes)

        return InlineGraph(made(), graph.max_block_bytes)

    def add_actors(
        self,
        graph: InlineGraph,
        stage: Callable[..., Callable[[pa.Table], pa.Table]],
        workers: Workers,  # noqa: ARG002  # for Ray
        **arguments: Any,
    ) -> InlineGraph:
        """Append a stage that is made once with `arguments`; its blocks are made one ahead, in a thread."""

        def made() -> Iterator[pa.Table]:
            ahead = self._pool.submit(next, graph.blocks, None)
            run = stage(**arguments)
            while (block := ahead.result()) is not None:
                ahead = self._pool.submit(next, graph.blocks, None)
                yield run(block)

        return InlineGraph(made(), graph.max_block_bytes)

    def results(self, graph: InlineGraph) -> Iterator[pa.Table]:
        """Run a graph and yield its blocks."""
        yield from graph.blocks

    def run_to_end(
        self, build: Callable[[], Built | None], on_progress: Callable[[Progress], None], unit: str = "pairs"
    ) -> None:
        """Run the graph of what is left to do; raises StoreLostError as soon as a row could not be written."""
        built = build()
        if built is None:
            return
        progress = Progress(built.rows, unit=unit)
        if built.workers.why:
            on_progress(Progress(built.rows, unit=unit, notice=built.workers.why))
        on_progress(progress)
        with _same_threads():
            for written in built.graph.blocks:
                progress = advance(progress, written)
                on_progress(progress)


def join_small(blocks: Iterable[pa.Table], max_bytes: int) -> Iterator[pa.Table]:
    """Join the outputs of one task until they exceed `max_bytes`, as Ray Data does."""
    waiting: list[pa.Table] = []
    for block in blocks:
        waiting.append(block)
        if sum(one.nbytes for one in waiting) >= max_bytes:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


@contextmanager
def _same_threads() -> Iterator[None]:
    """Give PyTorch back the number of threads it had, for the sake of whoever called from Python; stages set theirs."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
