"""Whole fuse jobs on stores that fail: what passes is waited for, what does not stops the job with nothing lost."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.cluster.runner import StoreLostError
from pipelines.errors.exceptions import UsageError
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.job import fuse
from pipelines.fuse.plan import plan_fuse
from pipelines.storage import objects as storage
from tests.archives import make_archive
from tests.end_to_end.test_fuse_archive import rows_of
from tests.fault_proxy import Chooser, Fault, FaultProxy, at_random, outage
from tests.processes import start_job
from tests.tally import COUNTED

pytestmark = pytest.mark.slow

PAIRS = 100
ALL_DAY: dict[Fault, float] = {
    "slow_down": 0.04, "reset": 0.04, "lost_answer": 0.03, "half_body": 0.04, "slow_body": 0.05, "silence": 0.002,
}  # fmt: skip


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    make_archive(folder, PAIRS, size=(40, 32))
    return folder


@pytest.fixture
def proxy(object_store: Any) -> Iterator[FaultProxy]:
    """What jobs reach the store through; the test itself reaches it directly."""
    with FaultProxy(object_store.port, silence=35).running() as proxy:
        yield proxy
    COUNTED.update({f"faults: {name}": count for name, count in proxy.met.items()})


def run(source: object, out: str, proxy: FaultProxy) -> tuple[int, str]:
    options = ("--no-tracking", "--runner", "ray", "--images", "both", "--metrics", "vif,qp")
    command = ("fuse", source, "--out", out, *options)
    process = start_job(*command, store=proxy.endpoint)
    said, _ = process.communicate(timeout=400)
    assert "Traceback" not in said
    return process.returncode, said


def uploaded(archive: Path, bucket: str) -> str:
    for file in archive.rglob("*.png"):
        storage.write_bytes(f"{bucket}/in/{file.relative_to(archive)}", file.read_bytes())
    return f"{bucket}/in"


def check_whole(out: str) -> None:
    """Hold that each pair has one row that is `ok`, with its image."""
    rows = rows_of(out)
    assert [row["pair_id"] for row in rows] == [f"street_{number:03d}" for number in range(PAIRS)]
    assert {row["status"] for row in rows} == {"ok"}
    assert all(storage.read_bytes(row["fused_uri"]) == row["fused"]["bytes"] for row in rows)
    assert storage.exists(f"{out}/_SUCCESS.json")


def check_kept(out: str) -> None:
    """Hold that a job that stopped in the middle has kept what it did and blames no pair."""
    rows = rows_of(out)
    assert 0 < len(rows) < PAIRS
    assert {row["status"] for row in rows} == {"ok"}
    assert all(storage.read_bytes(row["fused_uri"]) == row["fused"]["bytes"] for row in rows)
    assert not storage.exists(f"{out}/_SUCCESS.json")


def after_rows(then: Chooser, files: int = 3) -> Chooser:
    """Begin with faults when a job has put some files of rows."""
    put: list[str] = []

    def choose(request: str) -> Fault | None:
        if request.startswith("PUT ") and "/pairs/" in request:
            put.append(request)
        return then(request) if len(put) > files else None

    return choose


def on_put(fault: Fault) -> Chooser:
    return lambda request: fault if request.startswith("PUT ") else None


@pytest.mark.extended
def test_a_store_with_faults_all_day_costs_time_alone(archive: Path, proxy: FaultProxy, object_store: Any) -> None:
    bucket = object_store.new_bucket()
    source = uploaded(archive, bucket)
    proxy.choose = at_random(ALL_DAY, seed=0)
    code, said = run(source, f"{bucket}/out", proxy)
    assert code == 0, said
    assert sum(proxy.met.values()) > 30
    check_whole(f"{bucket}/out")


@pytest.mark.extended
def test_an_outage_of_20_seconds_costs_20_seconds(archive: Path, proxy: FaultProxy, object_store: Any) -> None:
    bucket = object_store.new_bucket()
    source = uploaded(archive, bucket)
    proxy.choose = after_rows(outage(20))
    code, said = run(source, f"{bucket}/out", proxy)
    assert code == 0, said
    assert proxy.met["reset"] > 5
    check_whole(f"{bucket}/out")


@pytest.mark.extended
@pytest.mark.parametrize(
    ("fault", "word"),
    [
        pytest.param(after_rows(lambda _: "expired"), "ExpiredToken", id="expired credentials"),
        pytest.param(after_rows(on_put("read_only")), "AccessDenied", id="no right to put any more"),
        pytest.param(after_rows(on_put("reset")), "onnect", id="down for longer than a minute"),
    ],
)
def test_a_destination_that_is_lost_stops_the_job(
    fault: Chooser, word: str, archive: Path, proxy: FaultProxy, object_store: Any
) -> None:
    out = f"{object_store.new_bucket()}/out"
    proxy.choose = fault
    code, said = run(archive, out, proxy)
    assert code == 1, said
    assert word in said
    proxy.choose = lambda _: None
    check_kept(out)
    code, said = run(archive, out, proxy)
    assert code == 0, said
    check_whole(out)


@contextmanager
def disk(folder: Path, options: str) -> Iterator[Callable[[str], None]]:
    """Mount a disk in memory and give what changes its options."""
    folder.mkdir()

    def mount(options: str) -> None:
        said = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True, check=False
        )
        if said.returncode:
            pytest.skip(f"no disk can be mounted here: {said.stderr.strip()}")

    mount(options)
    try:
        yield lambda options: mount(f"remount,{options}")
    finally:
        subprocess.run(["umount", folder], check=True)


def fuse_here(archive: Path, out: Path) -> None:
    config = FuseConfig(source=str(archive), out=str(out), images="both", metrics=("ssim",), no_tracking=True)
    fuse(plan_fuse(config))


@pytest.mark.usefixtures("ray_here")
@pytest.mark.extended
def test_a_full_disk_stops_the_job_and_more_room_lets_it_go_on(archive: Path, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "size=400k") as remount:
        with pytest.raises(StoreLostError, match="No space left"):
            fuse_here(archive, tmp_path / "disk")
        check_kept(str(tmp_path / "disk"))
        remount("size=20m")
        fuse_here(archive, tmp_path / "disk")
        check_whole(str(tmp_path / "disk"))


def test_a_disk_that_is_read_only_is_refused_before_anything_starts(archive: Path, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "ro"):
        with pytest.raises(UsageError, match=r"--out .*Read-only file system"):
            fuse_here(archive, tmp_path / "disk")
        assert not list((tmp_path / "disk").iterdir())
