"""Running a graph to its end."""

import re
import time

import pyarrow as pa
import pytest
import ray

from pipelines.cluster import graph_watchdog
from pipelines.cluster.execute import ClusterLostError, run_graph, run_to_end
from pipelines.cluster.graph_watchdog import Diagnosis, GraphStoppedError
from pipelines.cluster.ray_cluster import Cluster, why_waiting
from pipelines.cluster.runner import Built, Progress, StoreLostError, Workers
from pipelines.fuse.schemas import WRITTEN

WORKERS = Workers(actors=1, cpus=1, gpus=0, threads=1)


class Graph:
    """Stands for a graph of Ray Data: blocks of rows, with a moment of nothing where None stands."""

    def __init__(self, *blocks: list[dict[str, str | None]] | None, quiet: float = 0.3) -> None:
        self.blocks = blocks
        self.quiet = quiet
        self.context = ray.data.DataContext()

    def iter_batches(self, **_: object):
        for block in self.blocks:
            if block is None:
                time.sleep(self.quiet)
                for callback in self.context.custom_execution_callback_classes:
                    callback().on_execution_step(self)
            else:
                yield pa.Table.from_pylist(block, WRITTEN)


def rows(*errors: str | None, stopped: str | None = None) -> list[dict[str, str | None]]:
    return [{"pair_id": "x", "error_code": error, "stopped": stopped} for error in errors]


def run(graph: object, total: int = 4) -> list[Progress]:
    heard = list[Progress]()
    run_graph(graph, Progress(total), WORKERS, heard.append)
    return heard


def test_progress_counts_rows_and_failures():
    assert run(Graph(rows(None, "empty_file"), rows(None, None))) == [
        Progress(4), Progress(4, 2, 1), Progress(4, 4, 1),
    ]  # fmt: skip


def test_a_store_that_is_lost_ends_the_graph_with_what_to_do():
    graph = Graph(rows(None), rows(None, "store_lost", stopped="DEST cannot be written: no space"), rows(None))
    with pytest.raises(StoreLostError, match=r"DEST.*space"):
        run(graph)


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> list[Diagnosis]:
    """Diagnoses that a watchdog makes as soon as it looks, one after the other."""
    diagnoses = list[Diagnosis]()
    monkeypatch.setattr(graph_watchdog, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(graph_watchdog.GraphWatchdog, "check", lambda _: diagnoses.pop(0) if diagnoses else None)
    return diagnoses


def test_a_graph_that_is_quiet_says_why(monkeypatch):
    monkeypatch.setattr(graph_watchdog, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(graph_watchdog, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(graph_watchdog, "BUSY_REPORT_SECONDS", 0.2)
    heard = run(Graph(rows(None), None, rows(None)), total=2)
    (stalled,) = [progress.stalled for progress in heard if progress.stalled]
    assert re.search(r"\b0 s\b.*heartbeats", stalled)
    assert heard[-1] == Progress(2, 2, 0)


def run_built(*graphs: Graph) -> list[Progress]:
    """Run graphs one after the other, of four rows together."""
    heard, waiting = list[Progress](), list(graphs)

    def build() -> Built | None:
        done = heard[-1].done if heard else 0
        return Built(waiting.pop(0), 4 - done, WORKERS) if waiting else None

    run_to_end(build, heard.append)
    return heard


def test_a_graph_that_cannot_proceed_is_built_anew_and_rows_are_counted_on(stuck):
    stuck.append(Diagnosis("all wait", 60))
    heard = run_built(Graph(rows("empty_file"), None), Graph(rows(None), rows(None, None)))
    (stalled,) = [progress.stalled for progress in heard if progress.stalled]
    assert stalled.startswith("all wait")
    assert heard[-1] == Progress(4, 4, 1)


def test_two_graphs_that_finish_nothing_end_the_job_with_the_reason(stuck):
    stuck += [Diagnosis("all wait", 60)] * 2
    with pytest.raises(ClusterLostError, match=r"^all wait.*resume"):
        run_built(Graph(None), Graph(None), Graph(rows(None)))


def test_a_cluster_without_a_node_for_a_worker_ends_the_job_at_once(stuck):
    stuck.append(Diagnosis("no node is left", 150, is_final=True))
    with pytest.raises(ClusterLostError, match="node"):
        run_built(Graph(rows(None), None), Graph(rows(None)))


def test_a_stopped_graph_says_why(stuck):
    stuck.append(Diagnosis("all wait", 60))
    with pytest.raises(GraphStoppedError, match="all wait"):
        run(Graph(rows(None), None, rows(None)))


def test_a_copy_that_fits_on_no_node_is_named(ray_here: Cluster):  # noqa: ARG001
    output = why_waiting(Workers(actors=2, cpus=1, gpus=1, threads=1))
    assert re.match(r".*\b2 workers\b.*\b1 CPU\b.*\b1 GPU\b.*\(1 node, ", output)
    assert "0 of 0 GPUs free" in output
    assert "Ctrl-C" in output


def test_workers_that_fit_are_not_blamed(ray_here: Cluster):  # noqa: ARG001
    assert "slow" in why_waiting(Workers(actors=1, cpus=0.5, gpus=0, threads=1))


def test_a_cluster_whose_resources_are_taken_says_so(ray_here: Cluster, monkeypatch):  # noqa: ARG001
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 0.5})
    assert "(1 node, 0.5 of " in why_waiting(WORKERS)
