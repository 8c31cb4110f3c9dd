"""A job without a network: three stages that sleep.

    python -m tests.small_graph WRITTEN ROWS [--greedy]

It appends ids to the file WRITTEN, and to WRITTEN.restarts a line for each actor that Ray has started again. A greedy
job's first graph cannot proceed on half of a cluster: it reserves whole CPUs for tasks, and actors fill what is left.
"""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import ray

from pipelines.cluster import graph_watchdog
from pipelines.cluster.dataset import add_actors, add_tasks, begin_with
from pipelines.cluster.execute import run_to_end
from pipelines.cluster.ray_cluster import Cluster
from pipelines.cluster.runner import Built, Progress

WEIGHTS = bytes(range(256)) * 20_000
OUTCOME = pa.schema([(name, pa.string()) for name in ("pair_id", "error_code", "stopped")])


def read(block: pa.Table) -> Iterator[pa.Table]:
    """Yield row after row."""
    for number in range(block.num_rows):
        time.sleep(0.05)
        yield block.slice(number, 1)


class Work:
    """Takes its time; as large as a network."""

    def __init__(self, weights: bytes, written: str) -> None:
        assert weights == WEIGHTS
        if ray.get_runtime_context().was_current_actor_reconstructed:
            append(f"{written}.restarts", [str(os.getpid())])

    def __call__(self, block: pa.Table) -> pa.Table:
        time.sleep(0.5)
        return block


def write(block: pa.Table, written: str) -> pa.Table:
    """Append the ids of a block to a file: twice where Ray repeats a task whose result was lost with its node."""
    ids = block["pair_id"].to_pylist()
    append(written, ids)
    return pa.Table.from_pylist([{"pair_id": one} for one in ids], OUTCOME)


def append(written: str, lines: list[str]) -> None:
    """Append lines to a file."""
    with Path(written).open("a", encoding="utf-8") as file:
        file.write("".join(f"{one}\n" for one in lines))


def main(written: str, rows: int, is_greedy: bool) -> None:
    """Run until every row is written."""
    ids = [f"{number:04d}" for number in range(rows)]
    builds = 0

    def build() -> Built | None:
        nonlocal builds
        there = set(Path(written).read_text().split())
        left = [one for one in ids if one not in there]
        workers = cluster.workers(None, None, len(left))
        if is_greedy and builds == 0:
            workers = replace(workers, actors=4, cpus=0.5, task_cpus=1.0, tasks=None)
        if builds:
            sys.stderr.write("built anew\n")
        builds += 1
        graph = begin_with([pa.table({"pair_id": left[at : at + 2]}) for at in range(0, len(left), 2)])
        graph.context.target_max_block_size = 1
        graph = add_actors(add_tasks(graph, read, workers=workers), Work, workers, weights=WEIGHTS, written=written)
        return Built(add_tasks(graph, write, written, workers=workers), len(left), workers) if left else None

    def report(progress: Progress) -> None:
        sys.stderr.write(f"{progress.done} of {progress.total} {progress.stalled or ''}\n")

    if is_greedy:
        graph_watchdog.STUCK_SECONDS = graph_watchdog.LOST_SECONDS = 10.0
    with Cluster() as cluster:
        run_to_end(build, report)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), "--greedy" in sys.argv)
