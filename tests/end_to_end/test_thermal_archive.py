"""A thermal archive in a bucket, not registered: fused by a rig, stopped, resumed and grown, in one range of values."""

import json
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.fuse import graph
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination
from pipelines.fuse.job import Outcome, fuse
from pipelines.fuse.plan import plan_fuse
from pipelines.storage import objects as storage
from pipelines.storage.parquet import read_table
from tests.object_store import ObjectStore
from tests.pipelines.thermal import write_rig, write_thermal
from upfusion.images import decode_image

PAIRS, GROWN = 6, 2


def put(folder: Path, bucket: str) -> None:
    for file in folder.rglob("*.*"):
        storage.write_bytes(f"{bucket}/{file.relative_to(folder)}", file.read_bytes())


def run(bucket: str, out: str, **settings: object) -> Outcome:
    told = {"model": "nano", "metrics": "none", "images": "files", "also": "b", "rig": f"{bucket}/rig.json"}
    told |= {"runner": "inline", "gpus_per_actor": 0, "no_tracking": True}
    return fuse(plan_fuse(FuseConfig(source=f"{bucket}/in", out=out, **told | settings)))


def rows_of(out: str) -> dict[str, dict[str, Any]]:
    rows = [row for uri in Destination(out).pair_files() for row in read_table(uri).to_pylist()]
    assert len(rows) == len({row["pair_id"] for row in rows})
    return {row["pair_id"]: row for row in rows}


def registered(row: dict[str, Any]) -> np.ndarray:
    return decode_image(storage.read_bytes(row["registered_uri"])).pixels


def test_the_range_stays_after_a_resume_and_as_the_archive_grows(
    tmp_path: Path, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = object_store.new_bucket()
    write_thermal(tmp_path / "new" / "in", PAIRS)
    write_rig(tmp_path / "new" / "rig.json")
    put(tmp_path / "new", bucket)
    run(bucket, f"{bucket}/undisturbed")
    expected = rows_of(f"{bucket}/undisturbed")

    out = f"{bucket}/out"
    monkeypatch.setattr(graph, "PAIRS_A_TASK", 2)
    write_pairs, calls = Destination.write_pairs, count(1)

    def stop_at_the_second(destination: Destination, rows: Any) -> None:
        if next(calls) == 2:
            raise KeyboardInterrupt
        write_pairs(destination, rows)

    monkeypatch.setattr(Destination, "write_pairs", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run(bucket, out)
    monkeypatch.setattr(Destination, "write_pairs", write_pairs)
    assert 0 < len(rows_of(out)) < PAIRS

    # Warmer by 4,000 counts: a range of the grown archive would be another one.
    write_thermal(tmp_path / "more" / "in", GROWN, first=100, warmer=4_000)
    put(tmp_path / "more", bucket)
    done = run(bucket, out)
    assert (done.ok, done.failed, done.pairs) == (PAIRS + GROWN, 0, PAIRS + GROWN)
    rows = rows_of(out)
    (value_range,) = {row["range_b"] for row in expected.values()}
    assert {row["range_b"] for row in rows.values()} == {value_range}
    assert json.loads(storage.read_bytes(f"{out}/run.json"))["ranges"]["b"] == {"uint16": value_range}
    for pair_id, row in expected.items():
        np.testing.assert_array_equal(registered(rows[pair_id]), registered(row))
        assert storage.read_bytes(rows[pair_id]["fused_uri"]) == storage.read_bytes(row["fused_uri"])
    assert registered(rows["100"]).mean() > 65_000
    again = run(bucket, out)
    assert again.fused_now == 0
    assert storage.exists(f"{out}/rig.json")
