"""What nothing happened to: an archive, what a job makes of it, and the comparison of what killed jobs leave."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from jobs.fuse import command as fuse_command
from pipelines.fuse.config import FuseConfig
from pipelines.storage import objects as storage
from tests.archives import make_archive
from tests.chaos.killing import Ended
from tests.end_to_end.test_fuse_archive import rows_of
from tests.tally import COUNTED

PLACES = ("fused_uri", "segment_uri", "frames_uri")


@dataclass(frozen=True)
class Undisturbed:
    """An archive, and the destination and the rows of it that nothing happens to."""

    archive: Path | str
    """A folder, or a URI."""
    out: Path
    rows: list[dict[str, Any]]


def make_dirty_archive(folder: Path, count: int, broken: int = 17) -> tuple[str, str]:
    """Write pairs of which one is broken, and an image without a partner; return the names of both."""
    names = make_archive(folder, count, size=(40, 32))[broken : broken + 2]
    (folder / "visible" / f"{names[0]}.png").write_text("not an image")
    (folder / "infrared" / f"{names[1]}.png").unlink()
    return names[0], names[1]


def command(archive: object, out: object, runner: str = "ray") -> list[object]:
    """Return what `start_job` takes for a fuse job."""
    options = ["--no-tracking", "--runner", runner, "--images", "both", "--metrics", "vif,ssim"]
    return ["fuse", archive, "--out", out, *options]


def config_of(command: list[object]) -> FuseConfig:
    """Return the configuration that a command gives."""
    return fuse_command.request(list(map(str, command[1:])))[0]


def check(undisturbed: Undisturbed, out: str, ended: Ended) -> None:
    """Hold a destination against what nothing happened to: rows, files and what speaks of all of them."""
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
    pairs = sum(row["recording"] is None for row in rows)
    assert f"{pairs - 1} of {pairs} pairs" in ended.said

    named = {row["fused_uri"]: row for row in rows if row["fused_uri"] is not None}
    assert set(storage.list_files(storage.join(out, "images"))) == set(named)
    for uri, row in named.items():
        assert storage.read_bytes(uri) == row["fused"]["bytes"]
    for folder in ("segments", "recordings"):
        assert films_of(out, folder) == films_of(str(undisturbed.out), folder)
    there, whole = (
        json.loads(storage.read_bytes(storage.join(str(place), "run.json"))) for place in (out, undisturbed.out)
    )
    assert there | {"config": None} == whole | {"config": None}
    success = json.loads(storage.read_bytes(storage.join(out, "_SUCCESS.json")))
    assert (success["pairs"], success["ok"], success["failed"]) == (pairs, pairs - 1, 1)
    assert success.get("segments", 0) == len(ids) - pairs
    assert storage.exists(storage.join(out, "report.html"))
    if not storage.is_remote(out):  # as somebody reads them who does not know what a killed process may leave
        assert pq.read_table(f"{out}/pairs").num_rows == len(ids)


def same(row: dict[str, Any]) -> dict[str, Any]:
    """What two runs over one archive have in common: all but times and places."""
    return {name: value for name, value in row.items() if not name.endswith("_ms") and name not in PLACES}


def films_of(out: str, folder: str) -> dict[str, bytes]:
    """Read the fused recordings, or segments, of a destination, by name."""
    uris = [uri for uri in storage.list_files(storage.join(out, folder)) if uri.endswith(".mp4")]
    return {uri.rpartition(f"/{folder}/")[2]: storage.read_bytes(uri) for uri in uris}
