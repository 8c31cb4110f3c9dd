"""A job without a network: three stages that sleep. `python -m tests.small_graph WRITTEN ROWS` appends ids to a file.

Its first graph reserves CPUs in the way that cannot proceed on half of a cluster: whole ones for tasks, and actors that
fill what is left of the cluster.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from pipelines.cluster import graph_watchdog
from pipelines.cluster.dataset import add_actors, add_tasks, begin_with
from pipelines.cluster.execute import run_to_end
from pipelines.cluster.ray_cluster import Cluster
from pipelines.cluster.runner import Built, Progress

OUTCOME = pa.schema([(name, pa.string()) for name in ("pair_id", "error_code", "stopped")])


def read(block: pa.Table) -> Iterator[pa.Table]:
    """Yield row after row."""
    for number in range(block.num_rows):
        time.sleep(0.05)
        yield block.slice(number, 1)


class Work:
    """Takes its time."""

    def __call__(self, block: pa.Table) -> pa.Table:
        time.sleep(0.5)
        return block


def write(block: pa.Table, written: str) -> pa.Table:
    """Append the ids of a block to a file."""
    ids = block["pair_id"].to_pylist()
    with Path(written).open("a", encoding="utf-8") as file:
        file.write("".join(f"{one}\n" for one in ids))
    return pa.Table.from_pylist([{"pair_id": one} for one in ids], OUTCOME)


def main(written: str, rows: int) -> None:
    """Run until every row is written."""
    ids = [f"{number:04d}" for number in range(rows)]
    is_first = True

    def build() -> Built | None:
        nonlocal is_first
        there = set(Path(written).read_text().split())
        left = [one for one in ids if one not in there]
        workers = cluster.workers(None, None, len(left))
        if is_first:
            workers = replace(workers, actors=4, cpus=0.5, task_cpus=1.0, tasks=None)
        else:
            sys.stderr.write("built anew\n")
        is_first = False
        graph = begin_with([pa.table({"pair_id": left[at : at + 2]}) for at in range(0, len(left), 2)])
        graph.context.target_max_block_size = 1
        graph = add_actors(add_tasks(graph, read, workers=workers), Work, workers)
        return Built(add_tasks(graph, write, written, workers=workers), len(left), workers) if left else None

    def report(progress: Progress) -> None:
        sys.stderr.write(f"{progress.done} of {progress.total} {progress.stalled or ''}\n")

    graph_watchdog.STUCK_SECONDS = graph_watchdog.LOST_SECONDS = 10.0
    with Cluster() as cluster:
        run_to_end(build, report)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
