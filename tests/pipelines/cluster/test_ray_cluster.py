"""How copies of the network are spread over what a cluster has."""

import json
import os
import signal

import pytest
import ray

from infra.stack.object_store import free_port
from pipelines.cluster.environment import is_remote
from pipelines.cluster.ray_cluster import Cluster
from pipelines.cluster.runner import Workers
from pipelines.errors.exceptions import UsageError
from tests.values_in_text import numbers_in


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(Cluster, "_cores", staticmethod(lambda: 8))
    return Cluster()


def with_resources(monkeypatch: pytest.MonkeyPatch, *nodes: dict[str, float], **resources: float) -> None:
    """Describe a cluster by its nodes, or of one node by its resources."""
    nodes = nodes or (resources,)
    total = {name: sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
    monkeypatch.setattr(ray, "cluster_resources", lambda: {name: amount for name, amount in total.items() if amount})
    alive = [{"Alive": True, "Resources": node} for node in nodes]
    monkeypatch.setattr(ray, "nodes", lambda: [*alive, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}])


def test_a_laptop_without_a_gpu_gets_a_copy_a_core_and_leaves_room_for_tasks(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_resources(monkeypatch, CPU=8)
    assert cluster.workers(None, None, pairs=100) == Workers(8, 0.999, 0.0, threads=1, task_cpus=0.001, tasks=4)
    assert cluster.workers(2, None, pairs=100) == Workers(2, 0.999, 0.0, threads=4, task_cpus=1.0, tasks=None)


NODE_SIZES = [1, 2, 3, 4, 7, 8, 16, 48, 96, 192]


@pytest.mark.parametrize("actors", [None, 3, 20, 64])
def test_whatever_nodes_are_left_actors_that_fill_one_leave_room_for_tasks(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, actors: int | None
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    for size in NODE_SIZES:
        with_resources(monkeypatch, {"CPU": 0.0}, {"CPU": 4.0}, {"CPU": 4.0}, {"CPU": float(size)})
        workers = cluster.workers(actors, None, pairs=10_000)
        assert workers.cpus > 0
        assert workers.cpus != workers.task_cpus
        for left in NODE_SIZES if workers.task_cpus < 1 else [4, size]:
            fill = min(workers.actors, int(left / workers.cpus + 1e-9))
            # In ten-thousandths, as Ray counts.
            free = left * 10_000 - fill * round(workers.cpus * 10_000)
            assert fill >= 1
            assert free >= round(workers.task_cpus * 10_000), (workers, left)


@pytest.mark.parametrize(
    ("nodes", "gpus_per_actor", "cpus"),
    [
        ([(16, 1)], 1, 1.0),
        ([(8, 8)], 1, 0.875),
        ([(8, 8), (64, 0)], 1, 0.875),
        ([(4, 1), (3, 3)], 1, 0.6666),
        ([(1, 1)], 1, 0.0),
        ([(4, 2)], 0.25, 0.375),
    ],
)
def test_a_node_full_of_gpu_actors_has_a_cpu_left_for_tasks(
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    nodes: list[tuple[int, int]],
    gpus_per_actor: float,
    cpus: float,
) -> None:
    with_resources(monkeypatch, *({"CPU": float(c), "GPU": float(g)} for c, g in nodes))
    workers = cluster.workers(None, gpus_per_actor, pairs=1000)
    assert workers.cpus == cpus
    for node_cpus, node_gpus in nodes:
        assert node_cpus - int(node_gpus / gpus_per_actor) * workers.cpus >= workers.task_cpus == 1.0


def test_there_are_never_more_copies_than_are_worth_their_start(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_resources(monkeypatch, CPU=8)
    assert cluster.workers(None, None, pairs=9).actors == 3
    assert cluster.workers(3, None, pairs=4).actors == 3
    assert cluster.workers(5, None, pairs=1).actors == 1


@pytest.mark.parametrize(
    ("gpus_per_actor", "expected"),
    [(None, Workers(4, 1.0, 1.0, 1)), (0.5, Workers(8, 1.0, 0.5, 1)), (2, Workers(2, 1.0, 2, 1))],
)
def test_gpus_are_divided_among_copies(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, gpus_per_actor: float | None, expected: Workers
) -> None:
    with_resources(monkeypatch, CPU=32, GPU=4)
    assert cluster.workers(None, gpus_per_actor, pairs=100) == expected


@pytest.mark.parametrize(("workers", "threads"), [(1, 4), (2, 4), (3, 2), (4, 2), (5, 1), (9, 1)])
def test_no_worker_spans_two_nodes_of_a_cluster(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, workers: int, threads: int
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with_resources(monkeypatch, {"CPU": 0.0}, {"CPU": 4.0}, {"CPU": 4.0})
    assert cluster.workers(workers, 0, pairs=100).threads == threads
    trainers = cluster.trainers((1, workers), 0)
    assert (trainers.threads, trainers.cpus) == (threads, threads if workers <= 8 else 8 / 9)


def test_zero_gpus_an_actor_means_the_cpu_even_where_gpus_are(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_resources(monkeypatch, CPU=32, GPU=4)
    assert cluster.workers(None, 0, pairs=100).gpus == 0


@pytest.mark.parametrize(
    ("resources", "actors", "gpus_per_actor", "said"),
    [
        ({}, None, None, "--actors .*--gpus-per-actor"),
        ({}, 4, None, "--gpus-per-actor"),
        ({}, None, 0, "0 CPUs.*--actors"),
        ({"CPU": 4.0}, None, 1, "--gpus-per-actor 1.*0 GPUs.*--actors"),
    ],
)
def test_a_cluster_that_has_nothing_to_choose_from_is_refused(
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    resources: dict[str, float],
    actors: int | None,
    gpus_per_actor: float | None,
    said: str,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with_resources(monkeypatch, resources)
    with pytest.raises(UsageError, match=said):
        cluster.workers(actors, gpus_per_actor, pairs=100)


def test_a_cluster_that_is_to_grow_is_asked_for_what_was_named(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with_resources(monkeypatch, {"CPU": 0.0})
    assert cluster.workers(8, 1, pairs=100) == Workers(8, 1.0, 1, 1)
    assert cluster.workers(8, 0, pairs=100).actors == 8
    assert "8 GPUs" in cluster.workers(8, 1, pairs=100).why


def test_what_was_chosen_is_told_with_its_reason(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with_resources(monkeypatch, {"CPU": 0.0}, {"CPU": 4.0}, {"CPU": 4.0})
    numbers = {"workers": "8", "threads": "1", "nodes": "3", "CPUs": "8", "GPUs": "0"}
    assert numbers_in(cluster.workers(None, None, 100).why) == list(numbers.values())
    assert numbers_in(cluster.workers(1, 0, 100).why) == list((numbers | {"workers": "1", "threads": "4"}).values())
    with_resources(monkeypatch, {"CPU": 16.0, "GPU": 2.0})
    assert numbers_in(cluster.workers(None, None, 100).why) == ["2", "1", "1", "16", "2"]
    on_cpus = cluster.workers(8, 0, 100).why
    assert numbers_in(on_cpus.partition("--gpus-per-actor 0")[0]) == ["8", "2", "1", "16", "2"]
    assert "--gpus-per-actor 0" in on_cpus


def test_gpus_that_are_not_there_are_refused_instead_of_waited_for(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_resources(monkeypatch, CPU=8)
    with pytest.raises(ValueError, match="no GPU"):
        cluster.workers(None, 1, pairs=100)


def test_a_cluster_is_remote_when_the_environment_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert not is_remote()
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert not is_remote()
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert is_remote()


NAMES = {"OMP_WAIT_POLICY", "AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION"}


def test_what_a_submitted_jobs_environment_says_is_not_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []
    monkeypatch.setattr(ray, "init", lambda **options: asked.append(options["runtime_env"]["env_vars"]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store")
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    Cluster()._connect()
    assert set(asked[0]) == NAMES
    told = {"runtime_env": {"env_vars": {"OMP_WAIT_POLICY": "ACTIVE", "A": "b"}}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(told))
    Cluster()._connect()
    assert set(asked[1]) == NAMES - {"OMP_WAIT_POLICY"}


def test_workers_on_this_machine_inherit_what_they_need_and_nothing_of_it_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Processes that Ray has started beforehand know of no runtime environment, and would be started in vain."""
    asked: list[dict[str, str | None]] = []

    def init(**options: object) -> None:
        assert "runtime_env" not in options
        asked.append({name: os.environ.get(name) for name in NAMES})

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store")
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.delenv("AWS_RESPONSE_CHECKSUM_VALIDATION", raising=False)
    before = dict(os.environ)
    Cluster()._connect()
    assert asked == [
        {
            "OMP_WAIT_POLICY": "PASSIVE",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_supported",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }
    ]
    assert dict(os.environ) == before


def test_a_node_that_is_slow_to_start_gets_another_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def init(**_: object) -> None:
        tried.append(len(tried))
        if len(tried) < 3:
            raise Exception("The current node timed out during startup. This could happen because ...")
        if len(tried) > 3:
            raise ConnectionError("nobody answers")

    monkeypatch.setattr(ray, "init", init)
    Cluster()._connect()
    assert len(tried) == 3
    with pytest.raises(ConnectionError, match="nobody answers"):
        Cluster()._connect()
    assert len(tried) == 4


def test_rays_handler_of_sigterm_does_not_replace_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def ours(*_: object) -> None: ...

    monkeypatch.setattr(ray, "init", lambda **_: signal.signal(signal.SIGTERM, signal.SIG_IGN))
    before = signal.signal(signal.SIGTERM, ours)
    try:
        Cluster()._connect()
        assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_ray_that_is_there_is_used_and_kept(ray_here: Cluster) -> None:
    with Cluster() as again:
        assert again.job_id == ray_here.job_id
    assert ray.is_initialized()


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_a_cluster_that_is_not_there_is_refused_soon(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address.format(free_port()))
    monkeypatch.setattr("pipelines.cluster.ray_cluster.SECONDS_TO_ANSWER", 0)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(UsageError, match=r"RAY_ADDRESS=.*refused"):
        Cluster().__enter__()


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("auto", ConnectionError("Could not find any running Ray instance")),
        ("auto", RuntimeError("Failed to connect to GCS. Last connection error: Traceback ...")),
        ("head:none", None),
    ],
)
def test_what_ray_says_of_a_cluster_is_told(
    monkeypatch: pytest.MonkeyPatch, address: str, error: Exception | None
) -> None:
    def refuse(**_: object) -> None:
        assert error
        raise error

    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    said = str(error).partition(" Last")[0] if error else "Port could not be cast"
    with pytest.raises(UsageError, match=f"RAY_ADDRESS={address}: {said}"):
        Cluster().__enter__()
