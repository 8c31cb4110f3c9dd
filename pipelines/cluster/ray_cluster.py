"""The Ray cluster a job runs on: a running one where an address is set, else one of its own on this machine."""

import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import ray
import ray.data
import tenacity

from pipelines.cluster import dataset, execute
from pipelines.cluster.environment import is_remote, submitted, usable_cpus
from pipelines.cluster.runner import PAIRS_WORTH_A_COPY, Built, Progress, Workers
from pipelines.errors.exceptions import UsageError
from upfusion.counted import counted

# Plans with fewer logical CPUs than stages wait for each other for ever.
FEWEST_LOGICAL_CPUS = 4

# Where nobody listens at a cluster's address, or somebody else does, Ray itself tries for a quarter of an hour.
SECONDS_TO_ANSWER = 15
ONE_ATTEMPT = {"RAY_gcs_server_port_wait_time_s": "1"}  # of 40 seconds

# What actors leave free of every CPU. Actors of a lost node are placed on the nodes that remain, before any task, until
# no further one fits there. With one of 0.5 CPUs that was a whole node of 4 CPUs, and tasks of 1 CPU waited for ever.
# With 0.999 a node of up to 999 CPUs always has room left for as many tasks as it has CPUs.
ROOM = 0.001

SLOW_START = "The current node timed out during startup"
STARTS = 4

# S3 servers other than AWS often lack the checksums that recent SDKs send unasked.
PLAIN_CHECKSUMS = {
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
}


def why_waiting(workers: Workers) -> str:
    """Say what keeps a job waiting that requested these workers, as far as the cluster shows."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    needed = {name: amount for name, amount in (("CPU", workers.cpus), ("GPU", workers.gpus)) if amount}
    total, free = ray.cluster_resources(), ray.available_resources()
    there = ", ".join(f"{free.get(name, 0):g} of {total.get(name, 0):g} {name}s free" for name in ("CPU", "GPU"))
    cluster = f"{counted(len(nodes), 'node')}, {there}"
    requested = " and ".join(f"{amount:g} {name}" for name, amount in needed.items())
    if not any(all(node.get(name, 0) >= amount for name, amount in needed.items()) for node in nodes):
        return (
            f"each of {workers.actors} workers needs {requested} on one node, and no node has that much ({cluster}). "
            "The job waits for one to join; Ctrl-C stops it, and no progress is lost"
        )
    if any(free.get(name, 0) < amount for name, amount in needed.items()):
        return f"no resources are free for another worker ({cluster}): slow pairs, a slow store, or other jobs"
    return f"the workers are starting or busy ({cluster}): slow pairs or a slow store"


def _start_patiently(options: dict[str, Any]) -> None:
    """Start or find Ray; its node has 30 seconds to come up, which it misses now and then on a busy machine."""
    slow = tenacity.retry_if_exception_message(match=SLOW_START)
    start = tenacity.Retrying(stop=tenacity.stop_after_attempt(STARTS), retry=slow, reraise=True)
    start(ray.init, **options)


def _reach(options: dict[str, Any]) -> None:
    """Connect to the cluster that the environment names; raises UsageError where it does not answer."""
    address = os.environ["RAY_ADDRESS"]
    try:
        place = urlsplit(address if "://" in address else f"//{address}")
        if place.port:  # else it is for Ray to find out
            waiting = tenacity.stop_after_delay(SECONDS_TO_ANSWER)
            listens = tenacity.Retrying(stop=waiting, wait=tenacity.wait_fixed(1), reraise=True)
            listens(socket.create_connection, (place.hostname, place.port), timeout=5).close()
        with _in_environment(ONE_ATTEMPT):
            _start_patiently(options)
    except (OSError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).partition("Last connection error")[0].split())
        raise UsageError(
            f"no Ray cluster answers at RAY_ADDRESS={address}: {said.rstrip('.')}. Start it, fix the address, or "
            "unset RAY_ADDRESS to work on this machine alone."
        ) from error


@contextmanager
def _in_environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables for the processes that are started in a `with` block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Cluster:
    """Connects to Ray for the duration of a `with` block; a connection that is there already is used and kept."""

    def __init__(self, *, verbose: bool = False) -> None:
        self.verbose = verbose
        self.was_there = ray.is_initialized()

    def __enter__(self) -> "Cluster":
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = self.verbose
        if not self.verbose:
            for name in ("ray", "ray.data", "ray.train"):
                logging.getLogger(name).setLevel(logging.ERROR)
        if not self.was_there:
            self._connect()
        return self

    def _connect(self) -> None:
        environment = {"OMP_WAIT_POLICY": "PASSIVE"}
        if "AWS_ENDPOINT_URL" in os.environ or "AWS_ENDPOINT_URL_S3" in os.environ:
            environment |= {name: os.environ.get(name, value) for name, value in PLAIN_CHECKSUMS.items()}
        options: dict[str, Any] = {
            "log_to_driver": self.verbose,
            "logging_level": logging.INFO if self.verbose else logging.ERROR,
        }
        on_sigterm = signal.getsignal(signal.SIGTERM)
        if is_remote():
            # Ray refuses what the environment of a submitted job says already, which is for whoever submits to say.
            said = (submitted().get("runtime_env") or {}).get("env_vars") or {}
            environment = {name: value for name, value in environment.items() if name not in said}
            _reach(options | {"runtime_env": {"env_vars": environment}})
        else:
            cpus = max(FEWEST_LOGICAL_CPUS, self._cores())
            # Workers inherit the environment; to those that it has started, Ray gives no runtime environment.
            with _in_environment(environment):
                _start_patiently(options | {"address": "local", "num_cpus": cpus, "include_dashboard": False})
        if callable(on_sigterm) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own handler ends the process without a word

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.was_there:
            ray.shutdown()

    @property
    def job_id(self) -> str:
        """Ray's id of this job."""
        return str(ray.get_runtime_context().get_job_id())

    def begin_with(self, blocks: list[pa.Table], max_block_bytes: int | None = None) -> dataset.Graph:
        """Begin a graph with these blocks."""
        graph = dataset.begin_with(blocks)
        if max_block_bytes is not None:
            # Ray closes a block of a task's output as soon as it exceeds this size.
            graph.context.target_max_block_size = max_block_bytes
        return graph

    def add_tasks(
        self, graph: dataset.Graph, stage: Callable[..., Any], *arguments: Any, workers: Workers | None = None
    ) -> dataset.Graph:
        """Append a stage that runs as tasks on CPUs; `arguments` follow the block."""
        return dataset.add_tasks(graph, stage, *arguments, workers=workers)

    def add_actors(
        self,
        graph: dataset.Graph,
        stage: Callable[..., Callable[[pa.Table], pa.Table]],
        workers: Workers,
        **arguments: Any,
    ) -> dataset.Graph:
        """Append a stage that runs in actors made with `arguments`."""
        return dataset.add_actors(graph, stage, workers, **arguments)

    def results(self, graph: dataset.Graph) -> Iterator[pa.Table]:
        """Run a graph and yield its blocks."""
        yield from graph.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)

    def run_to_end(
        self, build: Callable[[], Built | None], on_progress: Callable[[Progress], None], unit: str = "pairs"
    ) -> None:
        """Run the graph of what is left to do, anew for the nodes that are left where some are lost."""
        execute.run_to_end(build, on_progress, unit)

    def workers(
        self,
        actors: int | None,
        gpus_per_actor: float | None,
        pairs: int,
        pairs_worth_a_copy: int = PAIRS_WORTH_A_COPY,
    ) -> Workers:
        """Spread copies of the network over what the cluster has, on CPUs no more than are worth their start.

        Raises UsageError where this machine has fewer GPUs than requested, for which Ray would wait for
        ever; a remote cluster may still grow. It is refused where it has nothing yet that says how many copies to make,
        and whether on GPUs.
        """
        resources, nodes = ray.cluster_resources(), self._nodes()
        gpus_there = resources.get("GPU", 0.0)
        if is_remote():
            _check_can_spread(resources, actors, gpus_per_actor)
        gpus = (1.0 if gpus_there else 0.0) if gpus_per_actor is None else gpus_per_actor
        if gpus > gpus_there and not is_remote():
            there = f"only {gpus_there:g} GPUs" if gpus_there else "no GPU"
            raise UsageError(f"--gpus-per-actor {gpus:g}: this machine has {there}; 0 runs on CPUs")
        if gpus:
            count = min(pairs, actors or max(1, int(gpus_there / gpus)))
            cpus = _cpus_beside_gpus(nodes, gpus)
            return Workers(count, cpus, gpus, threads=1, why=_why(count, gpus, 1, nodes, gpus_per_actor))
        cores = max(1, int(resources.get("CPU", 1)) if is_remote() else self._cores())
        count = min(pairs, actors) if actors else min(cores, -(-pairs // pairs_worth_a_copy))
        threads = self._threads(count)
        why = _why(count, gpus, threads, nodes, gpus_per_actor)
        # A copy that takes as many CPUs as a task would have the task before it put into it by Ray, and wait for files.
        cpus = _as_ray_counts((1 - ROOM) / -(-count // cores))
        if count * cpus + 1 <= min((node.get("CPU", 0) for node in nodes if node.get("CPU")), default=0):
            return Workers(count, cpus, gpus=0.0, threads=threads, why=why)
        tasks = max(1, cores // 2)
        return Workers(count, cpus, gpus=0.0, threads=threads, task_cpus=ROOM, tasks=tasks, why=why)

    def trainers(self, workers: tuple[int, int], gpus_per_worker: float | None) -> Workers:
        """Say what each of the fewest to the most workers of a training run gets.

        Raises UsageError where this machine has fewer GPUs than requested.
        """
        fewest, most = workers
        resources = ray.cluster_resources()
        gpus_there = resources.get("GPU", 0.0)
        gpus = (1.0 if gpus_there else 0.0) if gpus_per_worker is None else gpus_per_worker
        if gpus * fewest > gpus_there and not is_remote():
            there = f"only {gpus_there:g} GPUs" if gpus_there else "no GPU"
            raise UsageError(f"{fewest} workers of {gpus:g} GPUs: this machine has {there}; 0 trains on CPUs")
        if gpus:
            return Workers(most, cpus=1.0, gpus=gpus, threads=1)
        cores = int(resources.get("CPU", 1)) if is_remote() else self._cores()
        threads = self._threads(most)
        # A whole number where there is one: Ray counts in CPUs. A share where a laptop plays at being a cluster.
        return Workers(most, cpus=float(threads) if cores >= most else cores / most, gpus=0.0, threads=threads)

    def _threads(self, workers: int) -> int:
        """Return the most CPUs that each of so many workers can have, none of which spans two nodes."""
        nodes = [int(node.get("CPU", 0)) for node in self._nodes()] if is_remote() else [self._cores()]
        return next((n for n in range(max(nodes, default=1), 1, -1) if sum(c // n for c in nodes) >= workers), 1)

    @staticmethod
    def _nodes() -> list[dict[str, float]]:
        """Return the resources of every node."""
        return [node["Resources"] for node in ray.nodes() if node["Alive"]]

    @staticmethod
    def _cores() -> int:
        return usable_cpus()


def _cpus_beside_gpus(nodes: list[dict[str, float]], gpus: float) -> float:
    """Return the CPUs of an actor such that a node full of them has one left for tasks: 1, to feed its GPU, or less."""
    # A node of one CPU has none to reserve: its GPUs alone bound its actors.
    shares = [(node.get("CPU", 0) - 1) / int(node["GPU"] / gpus) for node in nodes if node.get("GPU", 0) >= gpus]
    return _as_ray_counts(max(0.0, min([1.0, *shares])))


def _as_ray_counts(cpus: float) -> float:
    """Round down to the ten-thousandths in which Ray counts."""
    return math.floor(cpus * 10_000 + 1e-6) / 10_000


def _check_can_spread(resources: dict[str, float], actors: int | None, gpus_per_actor: float | None) -> None:
    """Raise UsageError where a cluster that may grow has nothing yet from which to choose workers."""
    if gpus_per_actor is None and not resources.get("CPU") and not resources.get("GPU"):
        raise UsageError(
            "the cluster has no CPU and no GPU yet, so that it is not known what to run on. Give --actors and "
            "--gpus-per-actor (0 for CPUs): the job then waits for nodes to join"
        )
    missing = "GPU" if gpus_per_actor else "CPU"
    if actors is None and resources.get(missing, 0) < (gpus_per_actor or 1):
        needed = f"--gpus-per-actor {gpus_per_actor:g}: " if gpus_per_actor else ""
        raise UsageError(
            f"{needed}the cluster has {resources.get(missing, 0):g} {missing}s now, so that it is not known how many "
            "workers to ask for. Give --actors as well: the job then waits for nodes to join"
        )


def _why(count: int, gpus: float, threads: int, nodes: list[dict[str, float]], gpus_per_actor: float | None) -> str:
    """Say what was chosen, and from what."""
    total = {name: sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
    cluster = f"{counted(len(nodes), 'node')} with {total['CPU']:g} CPUs and {total['GPU']:g} GPUs"
    workers = counted(count, "worker")
    if gpus:
        missing = f", of which {count * gpus:g} GPUs are waited for" if not total["GPU"] else ""
        return f"{workers}, each on {gpus:g} GPU ({cluster}{missing})"
    reason = "no GPU is there now" if not total["GPU"] else "--gpus-per-actor 0"
    chosen = "" if gpus_per_actor is not None and not total["GPU"] else f"; {reason}"
    return f"{workers} on CPUs, {counted(threads, 'thread')} each ({cluster}{chosen})"
