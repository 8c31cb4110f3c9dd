"""Heartbeats of the workers of a graph: what is at work at this moment, so that slow and stuck can be told apart.

Ray tells a driver which resources are free. An idle actor holds as much of them as a busy one, so this says nothing
about whether a job proceeds.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import pyarrow as pa
import ray
from ray.actor import ActorHandle
from ray.data import DataContext
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.cluster.allocator import keep_freed_memory

BEAT_SECONDS = 10.0
FRESH_BEATS = 3.5
"""So many beats may be missed on a busy machine before a worker counts as gone."""
BOARD = "upfusion.heartbeats"
ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class Beat:
    """What a process reported last."""

    stage: str
    busy_seconds: float | None
    """For how long it has worked on the same block; None for one that waits: an actor for a block, a task for the
    next stage to take what it has made."""
    is_actor: bool


class _Board:
    """Holds the last beat of every process; an actor beside the driver."""

    def __init__(self) -> None:
        self.beats: dict[str, tuple[float, Beat]] = {}

    def put(self, process: str, beat: Beat) -> None:
        self.beats[process] = time.monotonic(), beat

    def fresh(self, seconds: float) -> list[Beat]:
        since = time.monotonic() - seconds
        self.beats = {process: one for process, one in self.beats.items() if one[0] > since}
        return [beat for _, beat in self.beats.values()]


_started: tuple[tuple[str, str], "ActorHandle[_Board]"] | None = None
"""The board of the connection to Ray that it names. Ray ends an actor when the first handle to it goes, whatever copies
there are in contexts."""


def add_board(context: DataContext) -> None:
    """Name the board of this driver in a graph's context; it is started, on the driver's node, where there is none."""
    global _started
    runtime = ray.get_runtime_context()
    connection = str(runtime.gcs_address), str(runtime.get_job_id())
    if _started is None or _started[0] != connection:
        here = NodeAffinitySchedulingStrategy(runtime.get_node_id(), soft=False)
        start: Any = ray.remote(_Board).options(num_cpus=0, max_restarts=-1, scheduling_strategy=here)
        _started = connection, start.remote()
    context.set_config(BOARD, _started[1])


def read_beats(context: DataContext) -> list[Beat] | None:
    """Return the fresh beats of a graph's workers; None where they cannot be had."""
    board = context.get_config(BOARD)
    if board is None:
        return None
    with suppress(ray.exceptions.RayError):
        beats: list[Beat] = ray.get(board.fresh.remote(FRESH_BEATS * BEAT_SECONDS), timeout=ANSWER_SECONDS)
        return beats
    return None


class Heart:
    """Reports what this process does from a thread of its own, as long as there is something to report."""

    here: ClassVar["Heart | None"] = None
    """A process runs one block at a time, and may run blocks of several stages and graphs one after the other."""

    def __init__(self) -> None:
        keep_freed_memory()  # here, where every process of a graph begins
        self.board: ActorHandle[_Board] | None = None
        self.stage = ""
        self.is_actor = False
        self.since: float | None = None
        """When work on the present block began."""
        self.worked = False
        """Whether there was work since the last beat."""
        self.present = threading.Event()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    @classmethod
    def of(cls, board: "ActorHandle[_Board] | None", stage: str, *, is_actor: bool) -> "Heart":
        """Return the heart of this process, which beats for a stage until it is to rest."""
        heart = cls.here = cls.here or cls()
        heart.board, heart.stage, heart.is_actor = board, stage, is_actor
        heart.present.set()
        return heart

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Report this process as at work during a `with` block."""
        self.since, self.worked = time.monotonic(), True
        try:
            yield
        finally:
            self.since = None

    def rest(self) -> None:
        """Report nothing more until there is work again."""
        self.present.clear()

    def _beat(self) -> None:
        process = ray.get_runtime_context().get_worker_id()
        while self.present.wait():
            since, worked = self.since, self.worked
            self.worked = since is not None
            busy = time.monotonic() - since if since is not None else 0.0 if worked else None
            with suppress(Exception):  # the board may be gone, and the work continues without it
                if self.board is not None:
                    self.board.put.remote(process, Beat(self.stage, busy, self.is_actor))
            time.sleep(BEAT_SECONDS)


def reporting(stage: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[[pa.Table], Generator[pa.Table]]:
    """Wrap a stage that runs as tasks, so that its processes report when they work; its name stays."""
    called = stage.func if isinstance(stage, partial) else stage
    name = getattr(called, "__name__", type(called).__name__)

    def run(block: pa.Table) -> Generator[pa.Table]:
        heart = Heart.of(DataContext.get_current().get_config(BOARD), name, is_actor=False)
        try:
            with heart.at_work():
                made = stage(block, *arguments)
            blocks = iter([made]) if isinstance(made, pa.Table) else made
            while True:
                with heart.at_work():
                    one = next(blocks, None)
                if one is None:
                    return
                yield one
        finally:
            heart.rest()

    run.__name__ = name
    return run


class ReportingActor:
    """Wraps a stage that runs in actors, which report when they work; a subclass names the stage."""

    stage: ClassVar[Callable[..., Callable[[pa.Table], pa.Table]]]

    def __init__(self, **arguments: Any) -> None:
        self._heart = Heart.of(DataContext.get_current().get_config(BOARD), type(self).__name__, is_actor=True)
        with self._heart.at_work():
            self._run = type(self).stage(**arguments)

    def __call__(self, block: pa.Table) -> pa.Table:
        """Run the stage."""
        with self._heart.at_work():
            return self._run(block)
