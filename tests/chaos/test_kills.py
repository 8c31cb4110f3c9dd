"""Whatever of a fuse job is stopped or killed, the same command again ends as if nothing had been."""

import json
import random
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.exit_codes import EXIT_INTERRUPTED
from jobs.fuse import command as fuse_command
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination
from pipelines.fuse.plan import plan_fuse
from pipelines.storage import objects as storage
from tests.archives import make_archive
from tests.chaos.killing import (
    Ended,
    Kill,
    Killer,
    Strike,
    kill_all,
    kill_driver,
    kill_node,
    kill_titled,
    plan_kills,
    press_ctrl_c,
)
from tests.end_to_end.test_fuse_archive import rows_of
from tests.fault_proxy import Fault, FaultProxy, at_random
from tests.processes import start_job
from tests.stages import run_stages
from tests.tally import COUNTED

pytestmark = [pytest.mark.slow, pytest.mark.extended]

FEW, MANY = 97, 200
BROKEN, ALONE = "street_017", "street_018"
SEEDS = range(9)

BETWEEN, CTRL_C = "all, between image and row,", "Ctrl-C"
PARTS: dict[str, Strike] = {
    "driver": kill_driver,
    "node": kill_node,
    "actor": kill_titled("ray::MapWorker(MapBatches(FuseActor))"),
    "fetch task": kill_titled("ray::MapBatches(load_sources)"),
    "writer": kill_titled("ray::MapBatches(Writer)"),
}
VICTIMS = [*PARTS, BETWEEN]
# Small files are all fetched while the network still starts.
EARLY = {"fetch task"}


@dataclass(frozen=True)
class Undisturbed:
    """An archive, and the destination and the rows of it that nothing happens to."""

    archive: Path
    out: Path
    rows: list[dict[str, Any]]


def make_dirty_archive(folder: Path, count: int) -> None:
    """Write pairs of which one is broken, and an image without a partner."""
    make_archive(folder, count, size=(40, 32))
    (folder / "visible" / f"{BROKEN}.png").write_text("not an image")
    (folder / "infrared" / f"{ALONE}.png").unlink()


@pytest.fixture(scope="module")
def of_a_job(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """What a whole job makes of many pairs."""
    folder = tmp_path_factory.mktemp("kills")
    make_dirty_archive(folder / "in", MANY)
    process = start_job(*command(folder / "in", folder / "out"))
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 3, said
    return Undisturbed(folder / "in", folder / "out", rows_of(folder / "out"))


@pytest.fixture
def of_the_stages(tmp_path: Path) -> Undisturbed:
    """What the stages of a job make of a few pairs, one after the other and without Ray."""
    make_dirty_archive(tmp_path / "in", FEW)
    run_stages(plan_fuse(config_of(command(tmp_path / "in", tmp_path / "out"))))
    return Undisturbed(tmp_path / "in", tmp_path / "out", rows_of(tmp_path / "out"))


@pytest.fixture
def store(object_store: Any) -> Iterator[tuple[FaultProxy, str]]:
    """The proxy that jobs reach the store through, and a bucket."""
    with FaultProxy(object_store.port).running() as proxy:
        yield proxy, object_store.new_bucket()


def command(archive: object, out: object, runner: str = "ray") -> list[object]:
    options = ["--no-tracking", "--runner", runner, "--images", "both", "--metrics", "vif,ssim"]
    return ["fuse", archive, "--out", out, *options]


def config_of(command: list[object]) -> FuseConfig:
    return fuse_command.request(list(map(str, command[1:])))[0]


def killer(undisturbed: Undisturbed, out: str, proxy: FaultProxy | None, seed: int) -> Killer:
    between = kill_between_on_disk(out) if proxy is None else kill_between_in_store(proxy)
    return Killer(
        command(undisturbed.archive, out),
        done=lambda: rows_in(out) / len(undisturbed.rows),
        strikes=PARTS | {BETWEEN: between, CTRL_C: stop_on_the_way(out)},
        seed=seed,
        store=proxy and proxy.endpoint,
    )


def rows_in(out: str) -> int:
    """Count the rows of a destination."""
    return Destination(out).finished().rows.num_rows


def images_in(out: str) -> int:
    return len(storage.list_files(storage.join(out, "images")))


def stop_on_the_way(out: str) -> Strike:
    """Press Ctrl-C; nothing that is left may say that all is done."""
    return lambda process, dice: press_ctrl_c(process, dice) and not storage.exists(storage.join(out, "_SUCCESS.json"))


def kill_between_on_disk(out: str) -> Strike:
    """Kill the whole job when an image lies there that has no row yet."""

    def strike(process: subprocess.Popen[str], _: random.Random) -> bool:
        if between := images_in(out) > rows_in(out):
            kill_all(process)
        return between

    return strike


def kill_between_in_store(proxy: FaultProxy) -> Strike:
    """Kill the whole job when its next rows are on their way: they arrive, and nobody hears of it, or they do not."""

    def strike(process: subprocess.Popen[str], dice: random.Random) -> bool:
        struck: list[str] = []
        before = proxy.choose

        def choose(request: str) -> Fault | None:
            if struck or not (request.startswith("PUT ") and "/pairs/" in request):
                return before(request)
            struck.append(request)
            kill_all(process)
            return dice.choice(["lost_answer", "reset"])

        proxy.choose = choose
        process.wait(timeout=400)
        proxy.choose = before
        return bool(struck)

    return strike


def test_ctrl_c_and_three_kills_on_a_store_with_faults(
    of_the_stages: Undisturbed, store: tuple[FaultProxy, str]
) -> None:
    proxy, bucket = store
    proxy.choose = at_random({"slow_down": 0.02, "reset": 0.02, "lost_answer": 0.02, "half_body": 0.02}, seed=7)
    kills = [Kill("actor", 0.1), Kill("writer", 0.2), Kill(CTRL_C, 0.3), Kill(BETWEEN, 0.4)]
    ended = killer(of_the_stages, bucket, proxy, seed=1).run(kills)
    assert ended.killed == [kill.victim for kill in kills]
    assert len(proxy.met) == 4
    check(of_the_stages, bucket, ended)

    (interrupted, stopped), (killed, _), (_, said) = ended.ends
    assert interrupted == EXIT_INTERRUPTED
    assert "Interrupted. Progress is saved; rerun the same command to resume." in stopped
    assert "Traceback" not in stopped
    assert killed == -signal.SIGKILL
    before = re.search(r"\((\d+) of the pairs were already done\)", said)
    assert before, said
    assert 0.4 * FEW < int(before[1]) < FEW - 1
    # What a person reads of a dirty archive: a table, what is wrong, where to look.
    assert "1 images have no partner" in said
    assert f"{ALONE}.png" in said
    assert "1 failed" in said
    assert "report.html" in said
    assert "Structural similarity" in said
    # Nothing but our own words: no word of Ray, no warning, no traceback.
    assert not [line for line in said.splitlines() if "ray" in line.lower() or "Warning" in line or "Traceback" in line]


@pytest.mark.parametrize("seed", SEEDS)
def test_kills_at_random(seed: int, of_a_job: Undisturbed, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    in_store = seed // len(VICTIMS) % 2 == 1
    proxy, out = request.getfixturevalue("store") if in_store else (None, str(tmp_path / "out"))
    ended = killer(of_a_job, out, proxy, seed).run(plan_kills(seed, VICTIMS, EARLY))
    assert ended.killed
    check(of_a_job, out, ended)


def check(undisturbed: Undisturbed, out: str, ended: Ended) -> None:
    """Hold a destination against what nothing happened to: rows, images and what speaks of all of them."""
    rows, times = rows_of(out), Counter(row["pair_id"] for row in rows_of(out))
    ids = [row["pair_id"] for row in undisturbed.rows]
    COUNTED.update(f"kills: {victim} of a fuse job" for victim in ended.killed)
    COUNTED.update(
        {
            "rows checked": len(rows),
            "rows lost": len(set(ids) - set(times)),
            "rows doubled": sum(times.values()) - len(times),
        }
    )
    assert [row["pair_id"] for row in rows] == ids
    assert [same(row) for row in rows] == [same(row) for row in undisturbed.rows]
    assert ended.code == 3
    assert f"{len(ids) - 1} of {len(ids)} pairs fused" in ended.said

    named = {row["fused_uri"]: row for row in rows if row["status"] == "ok"}
    assert set(storage.list_files(storage.join(out, "images"))) == set(named)
    for uri, row in named.items():
        assert storage.read_bytes(uri) == row["fused"]["bytes"]
    there, whole = (
        json.loads(storage.read_bytes(storage.join(str(place), "run.json"))) for place in (out, undisturbed.out)
    )
    assert there | {"config": None} == whole | {"config": None}
    success = json.loads(storage.read_bytes(storage.join(out, "_SUCCESS.json")))
    assert (success["pairs"], success["ok"], success["failed"]) == (len(ids), len(ids) - 1, 1)
    assert storage.exists(storage.join(out, "report.html"))
    if not storage.is_remote(out):  # as somebody reads them who does not know what a killed process may leave
        assert pq.read_table(f"{out}/pairs").num_rows == len(ids)


def same(row: dict[str, Any]) -> dict[str, Any]:
    """What two runs over one archive have in common: all but times and places."""
    return {name: value for name, value in row.items() if not name.endswith("_ms") and name != "fused_uri"}
