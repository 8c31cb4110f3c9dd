"""What runs the stages of a job: a Ray cluster (`ray_cluster.Cluster`), or this process (`inline.InlineRunner`).

A stage is a function, or a class, from a block of rows to blocks. Nothing here imports Ray, which takes seconds.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import pyarrow as pa

from pipelines.errors.exceptions import JobStoppedError

PAIRS_WORTH_A_COPY = 4
"""Starting a copy of the network in a process of its own takes a CPU about six seconds, most of them imports."""


@dataclass(frozen=True)
class Workers:
    """How the network is spread over the cluster."""

    actors: int
    cpus: float
    """Logical CPUs that Ray reserves for an actor."""
    gpus: float
    threads: int
    """PyTorch threads of an actor."""
    task_cpus: float = 1.0
    """Logical CPUs that Ray reserves for a task that fetches, decodes or writes."""
    tasks: int | None = None
    """How many tasks of a stage run at once; None leaves that to their CPUs."""
    why: str = field(default="", compare=False)
    """What was chosen, from what, to be shown."""


@dataclass(frozen=True)
class Progress:
    """How far a job is, in rows of this run."""

    total: int
    done: int = 0
    failed: int = 0
    stalled: str | None = None
    """Why nothing has finished for long."""
    unit: str = "pairs"
    """What the rows are."""
    notice: str | None = None
    """What was chosen for this job, to be shown once."""
    doing: str = ""
    """What is done with the rows, where that is not yet, or no longer, what the job is for: `cutting`."""


@dataclass(frozen=True)
class Built:
    """A graph that is ready to run."""

    graph: Any
    """Of the runner that made it: a `ray.data.Dataset`, or an iterator of blocks."""
    rows: int
    """How many rows come out of it."""
    workers: Workers


class StoreLostError(JobStoppedError):
    """A store that can no longer be read or written."""


class Runner(Protocol):
    """Builds graphs of stages and runs them to their end."""

    @property
    def job_id(self) -> str | None:
        """Ray's id of this job; None where there is no Ray."""

    def workers(
        self,
        actors: int | None,
        gpus_per_actor: float | None,
        pairs: int,
        pairs_worth_a_copy: int = PAIRS_WORTH_A_COPY,
    ) -> Workers:
        """Say on how many copies of the network so many pairs are worth to be spread."""

    def begin_with(self, blocks: list[pa.Table], max_block_bytes: int | None = None) -> Any:
        """Begin a graph with these blocks. A stage's output is closed as soon as it exceeds `max_block_bytes`."""

    def add_tasks(self, graph: Any, stage: Callable[..., Any], *arguments: Any, workers: Workers | None = None) -> Any:
        """Append a stage that runs as tasks on CPUs; `arguments` follow the block."""

    def add_actors(
        self, graph: Any, stage: Callable[..., Callable[[pa.Table], pa.Table]], workers: Workers, **arguments: Any
    ) -> Any:
        """Append a stage that is made once per worker with `arguments`."""

    def results(self, graph: Any) -> Iterator[pa.Table]:
        """Run a graph and yield the blocks that come out of it, for results that fit into this process."""

    def run_to_end(
        self, build: Callable[[], Built | None], on_progress: Callable[[Progress], None], unit: str = "pairs"
    ) -> None:
        """Run the graph of what is left to do; raises StoreLostError as soon as a row could not be written."""


def advance(progress: Progress, written: pa.Table) -> Progress:
    """Count a block of OUTCOME rows; raises StoreLostError where one could not be written."""
    if lost := written["stopped"].drop_null():
        raise StoreLostError(
            f"{lost[0]}. Nothing is wrong with the pairs: progress is saved, and the same command resumes "
            "once that is fixed."
        )
    failed = progress.failed + written.num_rows - written["error_code"].null_count
    return replace(progress, done=progress.done + written.num_rows, failed=failed)
