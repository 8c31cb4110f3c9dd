"""Running a graph to its end."""

import time

import pyarrow as pa
import pytest
import ray

from pipelines.cluster import execute as module
from pipelines.cluster.execute import Progress, StoreLostError, run_graph
from pipelines.cluster.ray_cluster import Cluster, Workers
from pipelines.fuse.schemas import WRITTEN

WORKERS = Workers(actors=1, cpus=1, gpus=0, threads=1)


class Graph:
    """Stands for a graph of Ray Data: blocks of rows, with a moment of nothing where None stands."""

    def __init__(self, *blocks: list[dict[str, str | None]] | None, quiet: float = 0.3) -> None:
        self.blocks = blocks
        self.quiet = quiet

    def iter_batches(self, **_: object):
        for block in self.blocks:
            if block is None:
                time.sleep(self.quiet)
            else:
                yield pa.Table.from_pylist(block, WRITTEN)


def rows(*errors: str | None, stopped: str | None = None) -> list[dict[str, str | None]]:
    return [{"pair_id": "x", "error_code": error, "stopped": stopped} for error in errors]


def run(graph: object, total: int = 4) -> list[Progress]:
    heard = list[Progress]()
    run_graph(graph, total, WORKERS, heard.append)
    return heard


def test_progress_counts_rows_and_failures():
    assert run(Graph(rows(None, "empty_file"), rows(None, None))) == [
        Progress(4), Progress(4, 2, 1), Progress(4, 4, 1),
    ]  # fmt: skip


def test_a_store_that_is_lost_ends_the_graph_with_what_to_do():
    graph = Graph(rows(None), rows(None, "store_lost", stopped="DEST cannot be written: no space"), rows(None))
    with pytest.raises(StoreLostError, match=r"^DEST cannot be written: no space\. .*the same command resumes"):
        run(graph)


def test_a_graph_that_does_not_move_says_why(monkeypatch):
    monkeypatch.setattr("pipelines.cluster.watchdog.QUIET_SECONDS", 0.2)
    monkeypatch.setattr(module, "why_waiting", lambda workers: f"{workers.actors} worker waits")
    heard = run(Graph(rows(None), None, rows(None)), total=2)
    assert [progress.stalled for progress in heard if progress.stalled] == ["nothing finished for 0 s: 1 worker waits"]
    assert heard[-1] == Progress(2, 2, 0)


def test_a_copy_that_fits_on_no_node_is_named(ray_here: Cluster):  # noqa: ARG001
    said = module.why_waiting(Workers(actors=2, cpus=1, gpus=1, threads=1))
    assert said.startswith("each of 2 workers needs 1 CPU and 1 GPU on one node, and no node has that much (1 node, ")
    assert "0 of 0 GPUs free" in said
    assert "Ctrl-C stops it, and no progress is lost" in said


def test_workers_that_fit_are_not_blamed(ray_here: Cluster):  # noqa: ARG001
    assert "slow pairs or a slow store" in module.why_waiting(Workers(actors=1, cpus=0.5, gpus=0, threads=1))


def test_a_cluster_whose_resources_are_taken_says_so(ray_here: Cluster, monkeypatch):  # noqa: ARG001
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 0.5})
    assert module.why_waiting(WORKERS).startswith("no resources are free for another worker (1 node, 0.5 of ")
