"""A Ray cluster of several nodes on this machine, whose nodes can be lost."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ray.cluster_utils import Cluster

ENVIRONMENT = {
    # A lost node is noticed after three seconds instead of fifteen.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    # Where it takes long to start a process, it is not started again and again.
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
}
STORE_BYTES = 150_000_000


class _SlowClock:
    """Gives a node of Ray 300 seconds to start instead of 30, which it misses on a busy machine."""

    sleep, time = time.sleep, time.time

    @staticmethod
    def monotonic() -> float:
        return time.monotonic() / 10


@contextmanager
def without_dashboard() -> Iterator[None]:
    """Start nodes without what they import for a dashboard: it takes longer than all the rest of a node.

    On a busy machine longer than the 15 seconds after which a node ends that waits for it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ray._private.utils.get_dashboard_dependency_error", lambda: ImportError("not needed"))
        yield


class RayNodes:
    """A head that only runs drivers, as on Kubernetes, and nodes of some logical CPUs each."""

    def __init__(self, count: int, cpus: int) -> None:
        self._cluster = Cluster()
        self._add(num_cpus=0, include_dashboard=False, no_monitor=True)
        self._cpus = cpus
        self._nodes = [self._add(num_cpus=cpus) for _ in range(count)]

    def _add(self, **options: Any) -> Any:
        return self._cluster.add_node(object_store_memory=STORE_BYTES, include_log_monitor=False, **options)

    def gain(self) -> None:
        """Add a node, the last one to be lost."""
        self._nodes.insert(0, self._add(num_cpus=self._cpus))

    def lose(self, count: int, keep: int = 0) -> int:
        """Kill nodes with all that runs on them, but `keep` some; return how many were killed."""
        lost = [self._nodes.pop() for _ in range(min(count, len(self._nodes) - keep))]
        for node in lost:
            self._cluster.remove_node(node, allow_graceful=False)
        return len(lost)

    def start(self, *words: object, output: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start a Python program that finds this cluster in its environment, its output in one stream."""
        return subprocess.Popen(
            [sys.executable, *map(str, words)],
            env={**os.environ, "RAY_ADDRESS": self._cluster.address},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def stop(self) -> None:
        """End all of it."""
        self._cluster.shutdown()


@contextmanager
def ray_nodes(count: int, cpus: int) -> Iterator[RayNodes]:
    """Run a cluster during a `with` block."""
    with pytest.MonkeyPatch.context() as environment, without_dashboard():
        for name, value in ENVIRONMENT.items():
            environment.setenv(name, value)
        environment.setattr("ray._private.node.time", _SlowClock)
        nodes = RayNodes(count, cpus)
        try:
            yield nodes
        finally:
            nodes.stop()


def wait_until(is_so: Callable[[], bool], process: subprocess.Popen[str], seconds: float) -> None:
    """Wait until something is so, while a process runs."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(process.communicate()[0])
        time.sleep(0.2)
