"""Whatever of a fuse job is stopped or killed, the same command again ends as if nothing had been."""

import random
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.exit_codes import EXIT_INTERRUPTED
from pipelines.fuse.destination import Destination
from pipelines.fuse.plan import plan_fuse
from pipelines.storage import objects as storage
from tests.chaos.killing import PARTS, Kill, Killer, Strike, kill_all, plan_kills, press_ctrl_c
from tests.chaos.undisturbed import Undisturbed, check, command, config_of, make_dirty_archive
from tests.end_to_end.test_fuse_archive import rows_of
from tests.fault_proxy import Fault, FaultProxy, at_random
from tests.processes import start_job
from tests.stages import run_stages
from upfusion.metrics.catalogue import METRICS

pytestmark = [pytest.mark.slow, pytest.mark.extended]

FEW, MANY = 97, 200
ALONE = "street_018"
SEEDS = range(9)

BETWEEN, CTRL_C = "all, between image and row,", "Ctrl-C"
VICTIMS = [*PARTS, BETWEEN]
# Small files are all fetched while the network still starts.
EARLY = {"fetch task"}


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
    assert "Traceback" not in stopped
    assert killed == -signal.SIGKILL
    before = re.search(r"\((\d+) [^)]*done\)", said)
    assert before, said
    assert 0.4 * FEW < int(before[1]) < FEW - 1
    # What a person reads of a dirty archive: a table, what is wrong, where to look.
    assert f"{ALONE}.png" in said
    assert re.search(r"\b1 failed\b", said)
    assert "report.html" in said
    assert METRICS["ssim"].title in said
    # Nothing but our own words: no word of Ray, no warning, no traceback.
    assert not [line for line in said.splitlines() if "ray" in line.lower() or "Warning" in line or "Traceback" in line]


@pytest.mark.parametrize("seed", SEEDS)
def test_kills_at_random(seed: int, of_a_job: Undisturbed, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    in_store = seed // len(VICTIMS) % 2 == 1
    proxy, out = request.getfixturevalue("store") if in_store else (None, str(tmp_path / "out"))
    ended = killer(of_a_job, out, proxy, seed).run(plan_kills(seed, VICTIMS, EARLY))
    assert ended.killed
    check(of_a_job, out, ended)
