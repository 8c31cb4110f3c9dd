"""The fuse job as its users meet it: archives in, rows, images, a report and an MLflow run out."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines import storage
from pipelines.destination import Destination
from pipelines.fuse import Outcome, fuse, plan_fuse
from pipelines.fuse_config import FuseConfig
from pipelines.request import RequestError
from pipelines.rows import output_schema
from tests.archives import make_archive, make_pair
from tests.object_store import ObjectStore
from upfusion.metrics import DEFAULT_METRICS, METRICS

pytestmark = pytest.mark.usefixtures("ray_here")


def run(source: object, out: object, **settings: Any) -> Outcome:
    settings.setdefault("no_tracking", True)
    config = FuseConfig(source=str(source), out=str(out), **settings)
    return fuse(plan_fuse(config))


def rows_of(out: object) -> list[dict[str, Any]]:
    files = [uri for uri in storage.list_files(storage.join(str(out), "pairs")) if uri.endswith(".parquet")]
    rows = [row for uri in files for row in pq.read_table(io.BytesIO(storage.read_bytes(uri))).to_pylist()]
    return sorted(rows, key=lambda row: row["pair_id"])


def open_fused(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_every_pair_becomes_one_row_with_its_image_and_metrics(tmp_path: Path) -> None:
    ids = make_archive(tmp_path / "in", 5)
    outcome = run(tmp_path / "in", tmp_path / "out")

    files = list((tmp_path / "out" / "pairs").iterdir())
    assert {path.suffix for path in files} == {".parquet"}
    assert all(pq.read_schema(path).equals(output_schema(DEFAULT_METRICS)) for path in files)
    rows = rows_of(tmp_path / "out")
    assert [row["pair_id"] for row in rows] == ids
    assert (outcome.pairs, outcome.ok, outcome.failed, outcome.fused_now) == (5, 5, 0, 5)
    for row in rows:
        assert row["status"] == "ok"
        assert row["error_code"] is None
        assert open_fused(row["fused"]["bytes"]).shape == (48, 64, 3)
        missing = [name for name in DEFAULT_METRICS if row[name] is None]
        assert missing == [name for name in DEFAULT_METRICS if METRICS[name].smallest_side > 48] == ["ms_ssim"]
        assert row["note"] == "no ms_ssim: a side is under 161 pixels"
        assert all(isinstance(row[name], float) for name in DEFAULT_METRICS if name not in missing)
        assert all(row[f"{stage}_ms"] > 0 for stage in ("fetch", "decode", "fuse", "measure", "encode"))
    success = json.loads((tmp_path / "out" / "_SUCCESS.json").read_text())
    assert (success["pairs"], success["ok"], success["failed"]) == (5, 5, 0)
    assert "street_000" in (tmp_path / "out" / "report.html").read_text()


def test_the_same_command_again_does_no_pair_twice_and_a_grown_archive_only_what_is_new(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 3)
    run(tmp_path / "in", tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out" / "pairs").iterdir()}

    again = run(tmp_path / "in", tmp_path / "out")
    assert (again.fused_now, again.ok) == (0, 3)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "pairs").iterdir()} == before

    make_pair(tmp_path / "in", "street_100", seed=100)
    success, seen = tmp_path / "out" / "_SUCCESS.json", list[bool]()
    config = FuseConfig(source=str(tmp_path / "in"), out=str(tmp_path / "out"), no_tracking=True)
    grown = fuse(plan_fuse(config), lambda _: seen.append(success.exists()))
    assert (grown.fused_now, grown.ok) == (1, 4)
    assert seen
    assert not any(seen)
    assert success.exists()
    assert [row["pair_id"] for row in rows_of(tmp_path / "out")][-1] == "street_100"


def test_limit_takes_the_first_pairs_and_a_later_run_the_rest(tmp_path: Path) -> None:
    ids = make_archive(tmp_path / "in", 4)
    assert run(tmp_path / "in", tmp_path / "out", limit=2).fused_now == 2
    assert [row["pair_id"] for row in rows_of(tmp_path / "out")] == ids[:2]
    assert run(tmp_path / "in", tmp_path / "out").fused_now == 2
    assert [row["pair_id"] for row in rows_of(tmp_path / "out")] == ids


def test_a_pair_that_an_interrupted_run_found_and_that_is_gone_becomes_a_failed_row(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 2)
    plan = plan_fuse(FuseConfig(source=str(tmp_path / "in"), out=str(tmp_path / "out"), no_tracking=True))
    Destination(str(tmp_path / "out")).claim(plan.run)
    Destination(str(tmp_path / "out")).merge_manifest(plan.found.pairs)
    for sensor in ("visible", "infrared"):
        (tmp_path / "in" / sensor / "street_000.png").unlink()
    assert run(tmp_path / "in", tmp_path / "out").failed == 1
    rows = rows_of(tmp_path / "out")
    assert [(row["pair_id"], row["error_code"]) for row in rows] == [
        ("street_000", "source_missing"),
        ("street_001", None),
    ]


def test_bad_files_become_rows_that_a_person_understands(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 3)
    visible = tmp_path / "in" / "visible"
    make_pair(tmp_path / "in", "truncated", seed=10)
    whole = (visible / "truncated.png").read_bytes()
    (visible / "truncated.png").write_bytes(whole[: len(whole) // 2])
    make_pair(tmp_path / "in", "text", seed=11)
    (visible / "text.png").write_text("<html>404</html>")
    make_pair(tmp_path / "in", "sizes", seed=12)
    Image.new("RGB", (10, 10)).save(visible / "sizes.png")
    make_pair(tmp_path / "in", "alone", seed=13)
    (tmp_path / "in" / "infrared" / "alone.png").unlink()

    outcome = run(tmp_path / "in", tmp_path / "out")

    failed = {row["pair_id"]: row for row in rows_of(tmp_path / "out") if row["status"] == "failed"}
    assert {name: row["error_code"] for name, row in failed.items()} == {
        "truncated": "truncated_image",
        "text": "not_an_image",
        "sizes": "size_mismatch",
    }
    assert "visible/truncated.png" in failed["truncated"]["error"]
    assert "A is 10x10, B is 64x48" in failed["sizes"]["error"]
    assert all(row["fused"] is None for row in failed.values())
    assert (outcome.ok, outcome.failed) == (3, 3)
    assert [Path(uri).name for uri in outcome.unpaired] == ["alone.png"]
    report = (tmp_path / "out" / "report.html").read_text()
    assert "alone.png" in report
    assert "size_mismatch" in report


def test_failed_pairs_stay_failed_until_they_are_retried(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 3)
    broken = tmp_path / "in" / "visible" / "street_001.png"
    good = broken.read_bytes()
    broken.write_bytes(b"")
    assert run(tmp_path / "in", tmp_path / "out").failed == 1
    broken.write_bytes(good)
    assert run(tmp_path / "in", tmp_path / "out").failed == 1

    retried = run(tmp_path / "in", tmp_path / "out", retry_failed=True)
    assert (retried.ok, retried.failed, retried.fused_now) == (3, 0, 1)
    assert [row["status"] for row in rows_of(tmp_path / "out")] == ["ok", "ok", "ok"]


def test_images_as_files_alone_leave_their_place_in_the_row(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 2)
    run(tmp_path / "in", tmp_path / "out", images="files")
    for row in rows_of(tmp_path / "out"):
        assert row["fused"]["bytes"] is None
        assert Path(row["fused_uri"]).parent == tmp_path / "out" / "images"
        assert open_fused(Path(row["fused_uri"]).read_bytes()).shape == (48, 64, 3)


def test_a_destination_belongs_to_the_settings_that_decide_its_results(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 2)
    run(tmp_path / "in", tmp_path / "out")
    with pytest.raises(RequestError, match="format: 'png' there, 'jpeg' now"):
        run(tmp_path / "in", tmp_path / "out", format="jpeg")
    make_archive(tmp_path / "other", 2)
    with pytest.raises(RequestError, match="'street_000' stands in"):
        run(tmp_path / "other", tmp_path / "out")


def test_colour_sizes_and_depth_come_out_as_they_went_in(tmp_path: Path) -> None:
    make_pair(tmp_path / "in", "odd", size=(33, 21))
    make_pair(tmp_path / "in", "even", size=(64, 48))
    deep = (np.linspace(0, 65535, 40 * 24).reshape(24, 40)).astype(np.uint16)
    for sensor in ("visible", "infrared"):
        Image.fromarray(deep).save(tmp_path / "in" / sensor / "deep.png")
    run(tmp_path / "in", tmp_path / "out", images="files")
    images = tmp_path / "out" / "images"
    assert open_fused((images / "odd.png").read_bytes()).shape == (21, 33, 3)
    assert open_fused((images / "even.png").read_bytes()).shape == (48, 64, 3)
    assert open_fused((images / "deep.png").read_bytes()).dtype == np.uint16
    source = np.asarray(Image.open(tmp_path / "in" / "visible" / "even.png").convert("YCbCr")).astype(float)
    fused = np.asarray(Image.open(images / "even.png").convert("YCbCr")).astype(float)
    assert np.abs(source - fused)[..., 1:].mean() < 1.5


def test_a_manifest_brings_its_own_ids_tasks_and_places(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 2)
    (tmp_path / "in" / "manifest.csv").write_text(
        "pair_id,a_uri,b_uri,task\n"
        "0001,visible/street_000.png,infrared/street_000.png,ir_visible\n"
        f"0002,{tmp_path}/in/visible/street_001.png,infrared/street_001.png,nir_visible\n"
    )
    run(tmp_path / "in" / "manifest.csv", tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert [(row["pair_id"], row["task"], row["status"]) for row in rows] == [
        ("0001", "ir_visible", "ok"),
        ("0002", "nir_visible", "ok"),
    ]


def test_from_and_to_an_object_store(tmp_path: Path, object_store: ObjectStore) -> None:
    ids = make_archive(tmp_path, 4)
    bucket = object_store.new_bucket()
    for path in tmp_path.rglob("*.png"):
        storage.write_bytes(f"{bucket}/archive/{path.relative_to(tmp_path)}", path.read_bytes())

    outcome = run(f"{bucket}/archive", f"{bucket}/fused", images="both")

    rows = rows_of(f"{bucket}/fused")
    assert [row["pair_id"] for row in rows] == ids
    assert outcome.ok == 4
    assert all(row["a_uri"].startswith(f"{bucket}/archive/visible/") for row in rows)
    for row in rows:
        assert storage.read_bytes(row["fused_uri"]) == row["fused"]["bytes"]
    assert b"street_000" in storage.read_bytes(f"{bucket}/fused/report.html")
    assert run(f"{bucket}/archive", f"{bucket}/fused", images="both").fused_now == 0
