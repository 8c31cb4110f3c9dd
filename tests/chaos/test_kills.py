"""Whatever of a fuse job is killed, the same command again ends as if nothing had been."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines import storage
from tests.archives import make_archive
from tests.chaos.killing import Ended, Kill, Killer, plan_kills
from tests.end_to_end.test_fuse_archive import rows_of
from tests.fault_proxy import FaultProxy
from tests.processes import start_job
from tests.tally import COUNTED

pytestmark = pytest.mark.slow

PAIRS, BROKEN = 240, "street_017"
SEEDS = range(24)


@dataclass(frozen=True)
class Undisturbed:
    """An archive, and what a job made of it that nothing happened to."""

    archive: Path
    out: Path
    rows: list[dict[str, Any]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("kills")
    make_archive(folder / "in", PAIRS, size=(40, 32))
    (folder / "in" / "visible" / f"{BROKEN}.png").write_text("not an image")
    process = start_job(*command(folder / "in", folder / "out"))
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 3, said
    return Undisturbed(folder / "in", folder / "out", rows_of(folder / "out"))


@pytest.fixture
def store(object_store: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FaultProxy, str]]:
    """A bucket, and the proxy that jobs reach it through."""
    with FaultProxy(object_store.port).running() as proxy:
        bucket = object_store.new_bucket()
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy, bucket


def command(archive: object, out: object) -> list[object]:
    return ["fuse", archive, "--out", out, "--no-tracking", "--images", "both", "--metrics", "vif,ssim"]


def test_three_kills_on_s3(undisturbed: Undisturbed, store: tuple[FaultProxy, str]) -> None:
    proxy, bucket = store
    kills = [Kill("actor", 0.1), Kill("writer", 0.2), Kill("job between image and row", 0.3)]
    ended = Killer(command(undisturbed.archive, bucket), bucket, PAIRS, proxy, seed=0).run(kills)
    assert ended.killed == [kill.victim for kill in kills]
    assert ended.begun == 2
    check(undisturbed, bucket, ended)


@pytest.mark.extended
@pytest.mark.parametrize("seed", SEEDS)
def test_kills_at_random(seed: int, undisturbed: Undisturbed, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    proxy, out = request.getfixturevalue("store") if seed // 6 % 2 else (None, str(tmp_path / "out"))
    ended = Killer(command(undisturbed.archive, out), out, PAIRS, proxy, seed).run(plan_kills(seed))
    assert ended.killed
    check(undisturbed, out, ended)


def check(undisturbed: Undisturbed, out: str, ended: Ended) -> None:
    """Hold a destination against the undisturbed one: rows, images and what speaks of all of them."""
    rows, times = rows_of(out), Counter(row["pair_id"] for row in rows_of(out))
    ids = [row["pair_id"] for row in undisturbed.rows]
    COUNTED.update(f"kills: {victim}" for victim in ended.killed)
    COUNTED.update(
        {
            "kills: images that had no row yet": ended.images_without_row,
            "rows checked": len(rows),
            "rows lost": len(set(ids) - set(times)),
            "rows doubled": sum(times.values()) - len(times),
        }
    )
    assert [row["pair_id"] for row in rows] == ids
    assert [same(row) for row in rows] == [same(row) for row in undisturbed.rows]
    assert ended.code == 3
    assert f"{PAIRS - 1} of {PAIRS} pairs fused" in ended.said

    named = {row["fused_uri"]: row for row in rows if row["status"] == "ok"}
    assert set(storage.list_files(storage.join(out, "images"))) == set(named)
    for uri, row in named.items():
        assert storage.read_bytes(uri) == row["fused"]["bytes"]
    for name in ("_SUCCESS.json", "run.json"):
        there, whole = (json.loads(storage.read_bytes(storage.join(place, name))) for place in (out, undisturbed.out))
        ignored = {"config"}
        assert {k: v for k, v in there.items() if k not in ignored} == {
            k: v for k, v in whole.items() if k not in ignored
        }
    if not storage.is_remote(out):  # as somebody reads them who does not know what a killed process may leave
        assert pq.read_table(f"{out}/pairs").num_rows == PAIRS


def same(row: dict[str, Any]) -> dict[str, Any]:
    """What two runs over one archive have in common: all but times and places."""
    return {name: value for name, value in row.items() if not name.endswith("_ms") and name != "fused_uri"}
