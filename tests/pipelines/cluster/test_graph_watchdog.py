"""Telling a slow graph from one that cannot proceed."""

import re
from collections.abc import Callable

import pytest
import ray

from pipelines.cluster import graph_watchdog
from pipelines.cluster.graph_watchdog import GraphWatchdog, diagnose
from pipelines.cluster.heartbeat import Beat
from pipelines.cluster.ray_cluster import ROOM
from pipelines.cluster.runner import Workers

WORKERS = Workers(actors=8, cpus=0.999, gpus=0, threads=1, task_cpus=ROOM, tasks=4)
GPU_WORKERS = Workers(actors=2, cpus=1, gpus=1, threads=1)
WAITING = [Beat("FuseActor", None, True)] * 4
BUSY = [Beat("FuseActor", 83.0, True), Beat("load_sources", 2.0, False)]
STEP = 5.0

SetCluster = Callable[..., None]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> SetCluster:
    def describe(*nodes: dict[str, float], free: dict[str, float]) -> None:
        total = {name: sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
        alive = [{"Alive": True, "Resources": node} for node in nodes]
        monkeypatch.setattr(ray, "nodes", lambda: [*alive, {"Alive": False, "Resources": {"CPU": 64, "GPU": 8}}])
        monkeypatch.setattr(ray, "cluster_resources", lambda: total)
        monkeypatch.setattr(ray, "available_resources", lambda: free)

    return describe


class Watched:
    """A watchdog and its clock."""

    def __init__(self, workers: Workers, beats: list[Beat] | None) -> None:
        self.now = 0.0
        self.beats = beats
        self.reports: list[str] = []
        self.watchdog = GraphWatchdog(workers, lambda: self.beats, self.reports.append, clock=lambda: self.now)

    def wait(self, seconds: float) -> str | None:
        """Look every few seconds, and return why and when the graph is given up."""
        end = self.now + seconds
        while self.now < end:
            self.now += STEP
            if diagnosis := self.watchdog.check():
                return f"{self.now:.0f} s: {diagnosis.reason}"
        return None


def test_workers_that_hold_the_cluster_and_wait_are_given_up_within_five_minutes(cluster: SetCluster) -> None:
    cluster({"CPU": 0}, {"CPU": 4}, free={"CPU": 0.004})
    watched = Watched(WORKERS, WAITING)
    watched.watchdog.progress()
    reason = watched.wait(300)
    assert reason is not None
    assert re.match(r"100 s\b.*\b4\b.*\b8\b.*\b2 nodes\b", reason)
    assert "0.004 of 4 CPUs free" in reason


def test_a_cluster_that_has_lost_what_a_worker_needs_is_given_up_within_five_minutes(cluster: SetCluster) -> None:
    cluster({"CPU": 8}, free={"CPU": 8})
    watched = Watched(GPU_WORKERS, [])
    watched.watchdog.progress()
    reason = watched.wait(300)
    assert reason is not None
    assert re.match(r"190 s\b.*\b2 workers\b.*\b1 CPU\b.*\b1 GPU\b", reason)
    assert re.search(r"\b80 s\b.*\b2 workers\b", watched.reports[0])


def test_a_cluster_that_scales_from_zero_has_time_to(cluster: SetCluster) -> None:
    cluster({"CPU": 8}, free={"CPU": 8})
    watched = Watched(GPU_WORKERS, [])
    assert watched.wait(1200) is None
    assert "1 GPU" in watched.reports[0]
    assert watched.wait(100) is not None


@pytest.mark.parametrize("beats", [BUSY, None])
def test_slow_pairs_and_a_driver_that_reads_no_heartbeats_are_left_alone(
    cluster: SetCluster, beats: list[Beat] | None
) -> None:
    cluster({"CPU": 0}, {"CPU": 4}, free={"CPU": 0.004})
    watched = Watched(WORKERS, beats)
    watched.watchdog.progress()
    assert watched.wait(500) is None
    assert watched.reports == []
    assert watched.wait(6 * 3600) is None
    assert 1 <= len(watched.reports) < 8
    expected = "1 x FuseActor, 1 x load_sources busy, the longest for 83 s" if beats else "cannot be read"
    assert expected in watched.reports[0]


def test_a_first_run_whose_workers_start_slowly_is_not_alarming(cluster: SetCluster) -> None:
    cluster({"CPU": 0}, {"CPU": 4}, {"CPU": 4}, free={"CPU": 0.008})
    watched = Watched(WORKERS, [])
    assert watched.wait(75) is None
    assert watched.reports == []
    assert watched.wait(3600) is None
    assert "7.99 CPUs" in watched.reports[0]


def test_what_others_hold_is_waited_for(cluster: SetCluster) -> None:
    cluster({"CPU": 16}, free={"CPU": 2})
    assert diagnose(WORKERS, WAITING, has_worked=True).patience is None
    cluster({"CPU": 16}, free={"CPU": 12.004})
    assert diagnose(WORKERS, WAITING, has_worked=True).patience == graph_watchdog.STUCK_SECONDS


def test_a_task_whose_blocks_nobody_takes_is_none_of_the_others(cluster: SetCluster) -> None:
    cluster({"CPU": 4}, free={"CPU": 2})
    task = Beat("load_sources", None, False)
    few = Workers(actors=1, cpus=0.999, gpus=0, threads=1)
    assert diagnose(few, [WAITING[0], task], has_worked=True).patience == graph_watchdog.STUCK_SECONDS
    assert diagnose(few, [WAITING[0]], has_worked=True).patience is None


def test_work_between_two_looks_begins_the_wait_anew(cluster: SetCluster) -> None:
    cluster({"CPU": 4}, free={"CPU": 0.004})
    watched = Watched(WORKERS, WAITING)
    for _ in range(4):
        watched.beats = WAITING
        assert watched.wait(55) is None
        watched.beats = BUSY
        assert watched.wait(10) is None
    watched.beats = WAITING
    assert watched.wait(70) is not None
