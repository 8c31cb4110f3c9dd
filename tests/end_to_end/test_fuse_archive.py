"""The fuse job as its users meet it: archives in, rows, images, a report and an MLflow run out."""

import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.cluster.ray_cluster import Cluster
from pipelines.errors.exceptions import UsageError
from pipelines.fuse import graph
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination
from pipelines.fuse.job import Outcome, fuse
from pipelines.fuse.plan import plan_fuse
from pipelines.fuse.schemas import output_schema
from pipelines.storage import objects as storage
from pipelines.storage.ownership import DifferentSettingsError
from tests.archives import make_archive, make_pair
from upfusion.metrics import DEFAULT_METRICS, METRICS


def config(source: object, out: object, **settings: Any) -> FuseConfig:
    told = {"no_tracking": True, "runner": "inline"}
    return FuseConfig(source=str(source), out=str(out), **told | settings)


def run(source: object, out: object, **settings: Any) -> Outcome:
    return fuse(plan_fuse(config(source, out, **settings)))


def rows_of(out: object) -> list[dict[str, Any]]:
    files = [uri for uri in storage.list_files(storage.join(str(out), "pairs")) if uri.endswith(".parquet")]
    rows = [row for uri in files for row in pq.read_table(io.BytesIO(storage.read_bytes(uri))).to_pylist()]
    return sorted(rows, key=lambda row: row["pair_id"])


def open_fused(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@dataclass(frozen=True)
class Fused:
    """An archive and what a job made of it; tests that share one leave both as they are."""

    source: Path
    out: Path
    outcome: Outcome
    rows: dict[str, dict[str, Any]]
    """By pair_id, in its order."""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, ray_here: Cluster) -> Fused:  # noqa: ARG001
    """Five sound pairs, some of other sizes and depth, and all that can be wrong with one; fused on Ray."""
    folder = tmp_path_factory.mktemp("mixed")
    source, visible, infrared = folder / "in", folder / "in" / "visible", folder / "in" / "infrared"
    make_archive(source, 5)
    make_pair(source, "odd", size=(33, 21))
    deep = (np.linspace(0, 65535, 40 * 24).reshape(24, 40)).astype(np.uint16)
    for sensor in (visible, infrared):
        Image.fromarray(deep).save(sensor / "deep.png")
    make_pair(source, "truncated", seed=10)
    whole = (visible / "truncated.png").read_bytes()
    (visible / "truncated.png").write_bytes(whole[: len(whole) // 2])
    make_pair(source, "text", seed=11)
    (visible / "text.png").write_text("<html>404</html>")
    make_pair(source, "sizes", seed=12)
    Image.new("RGB", (10, 10)).save(visible / "sizes.png")
    make_pair(source, "alone", seed=13)
    (infrared / "alone.png").unlink()

    # What an interrupted run leaves that had found one pair more.
    make_pair(source, "gone", seed=14)
    told = config(source, folder / "out", images="both", runner="ray", actors=1)
    interrupted = plan_fuse(told)
    Destination(told.out).claim(interrupted.run)
    Destination(told.out).merge_manifest(interrupted.found.pairs)
    for sensor in (visible, infrared):
        (sensor / "gone.png").unlink()

    outcome = fuse(plan_fuse(told))
    return Fused(source, folder / "out", outcome, {row["pair_id"]: row for row in rows_of(told.out)})


def test_every_pair_becomes_one_row_with_its_image_and_metrics(mixed: Fused) -> None:
    files = list((mixed.out / "pairs").iterdir())
    assert {path.suffix for path in files} == {".parquet"}
    assert all(pq.read_schema(path).equals(output_schema(DEFAULT_METRICS)) for path in files)
    streets = [f"street_{number:03d}" for number in range(5)]
    rows = rows_of(mixed.out)
    assert [row["pair_id"] for row in rows] == sorted([*streets, "odd", "deep", "truncated", "text", "sizes", "gone"])
    outcome = mixed.outcome
    assert (outcome.pairs, outcome.ok, outcome.failed, outcome.fused_now) == (11, 7, 4, 11)
    for row in (mixed.rows[name] for name in streets):
        assert row["status"] == "ok"
        assert row["error_code"] is None
        assert open_fused(row["fused"]["bytes"]).shape == (48, 64, 3)
        missing = [name for name in DEFAULT_METRICS if row[name] is None]
        assert missing == [name for name in DEFAULT_METRICS if METRICS[name].smallest_side > 48] == ["ms_ssim"]
        assert re.search(rf"\bms_ssim\b.*\b{METRICS['ms_ssim'].smallest_side}\b", row["note"])
        assert all(isinstance(row[name], float) for name in DEFAULT_METRICS if name not in missing)
        assert all(row[f"{stage}_ms"] > 0 for stage in ("fetch", "decode", "fuse", "measure", "encode"))
    success = json.loads((mixed.out / "_SUCCESS.json").read_text())
    assert (success["pairs"], success["ok"], success["failed"]) == (11, 7, 4)
    assert "street_000" in (mixed.out / "report.html").read_text()


def test_a_job_in_this_process_makes_the_same_rows_and_images(mixed: Fused, tmp_path: Path) -> None:
    outcome = run(mixed.source, tmp_path / "out", images="both")
    assert (outcome.pairs, outcome.ok, outcome.failed) == (10, 7, 3)

    def comparable(row: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in row.items() if not name.endswith("_ms") and name != "fused_uri"}

    on_ray = [comparable(row) for name, row in mixed.rows.items() if name != "gone"]
    assert [comparable(row) for row in rows_of(tmp_path / "out")] == on_ray
    images = {path.name: path.read_bytes() for path in (mixed.out / "images").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "images").iterdir()} == images
    assert run(mixed.source, tmp_path / "out", images="both").fused_now == 0


def test_bad_files_become_rows_that_a_person_understands(mixed: Fused) -> None:
    failed = {name: row for name, row in mixed.rows.items() if row["status"] == "failed" and name != "gone"}
    assert {name: row["error_code"] for name, row in failed.items()} == {
        "truncated": "truncated_image",
        "text": "not_an_image",
        "sizes": "size_mismatch",
    }
    assert "visible/truncated.png" in failed["truncated"]["error"]
    assert re.search(r"\bA\b.*10x10.*\bB\b.*64x48", failed["sizes"]["error"])
    assert all(row["fused"] is None for row in failed.values())
    assert [Path(uri).name for uri in mixed.outcome.unpaired] == ["alone.png"]
    report = (mixed.out / "report.html").read_text()
    assert "alone.png" in report
    assert "size_mismatch" in report


def test_a_pair_that_an_interrupted_run_found_and_that_is_gone_becomes_a_failed_row(mixed: Fused) -> None:
    assert (mixed.rows["gone"]["status"], mixed.rows["gone"]["error_code"]) == ("failed", "source_missing")


def test_colour_sizes_and_depth_come_out_as_they_went_in(mixed: Fused) -> None:
    images = mixed.out / "images"
    assert open_fused((images / "odd.png").read_bytes()).shape == (21, 33, 3)
    assert open_fused((images / "street_000.png").read_bytes()).shape == (48, 64, 3)
    assert open_fused((images / "deep.png").read_bytes()).dtype == np.uint16
    source = np.asarray(Image.open(mixed.source / "visible" / "street_000.png").convert("YCbCr")).astype(float)
    fused = np.asarray(Image.open(images / "street_000.png").convert("YCbCr")).astype(float)
    assert np.abs(source - fused)[..., 1:].mean() < 1.5


def test_a_destination_belongs_to_the_settings_that_decide_its_results(mixed: Fused, tmp_path: Path) -> None:
    with pytest.raises(DifferentSettingsError) as refused:
        run(mixed.source, mixed.out, images="both", format="jpeg")
    assert refused.value.differing == {"format": ("png", "jpeg")}
    make_archive(tmp_path / "other", 2)
    with pytest.raises(UsageError, match="'street_000'"):
        run(tmp_path / "other", mixed.out, images="both")


def test_each_run_does_what_is_missing_and_no_pair_twice(tmp_path: Path) -> None:
    ids = make_archive(tmp_path / "in", 3)
    broken, success = tmp_path / "in" / "visible" / "street_001.png", tmp_path / "out" / "_SUCCESS.json"
    good = broken.read_bytes()
    broken.write_bytes(b"")

    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / "out" / "pairs").iterdir()}

    # A limit takes the first pairs,
    first = run(tmp_path / "in", tmp_path / "out", limit=2)
    assert (first.fused_now, first.ok, first.failed) == (2, 1, 1)
    assert [row["pair_id"] for row in rows_of(tmp_path / "out")] == ids[:2]
    assert success.exists()

    # a later run the rest and what the archive has grown by; what failed stays failed, though it is sound now.
    before = files()
    broken.write_bytes(good)
    make_pair(tmp_path / "in", "street_100", seed=100)
    seen = list[bool]()
    grown = fuse(plan_fuse(config(tmp_path / "in", tmp_path / "out")), lambda _: seen.append(success.exists()))
    assert (grown.fused_now, grown.ok, grown.failed) == (2, 3, 1)
    assert seen
    assert not any(seen)
    assert success.exists()
    assert before.items() <= files().items()
    assert [row["pair_id"] for row in rows_of(tmp_path / "out")] == [*ids, "street_100"]

    # With nothing missing the same command does nothing.
    before = files()
    again = run(tmp_path / "in", tmp_path / "out")
    assert (again.fused_now, again.ok, again.failed) == (0, 3, 1)
    assert files() == before

    retried = run(tmp_path / "in", tmp_path / "out", retry_failed=True)
    assert (retried.fused_now, retried.ok, retried.failed) == (1, 4, 0)
    rows = rows_of(tmp_path / "out")
    assert [(row["pair_id"], row["status"]) for row in rows] == [(name, "ok") for name in (*ids, "street_100")]
    # Images lie in the rows unless something else is asked for.
    assert all(row["fused_uri"] is None and open_fused(row["fused"]["bytes"]).size for row in rows)


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.usefixtures("ray_here")
def test_shards_side_by_side_are_the_whole_archive_in_blocks_of_so_many_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = make_archive(tmp_path / "in", 20)
    # Three pairs fill a block, and the fourth makes it larger than that.
    monkeypatch.setattr(graph, "BYTES_A_BLOCK_CPU", 3 * (64 * 48 * 4 + 500))
    monkeypatch.setattr(graph, "TASKS_AN_ACTOR", 1)
    settings = {"runner": "ray", "actors": 1, "metrics": "none"}
    outcomes = [run(tmp_path / "in", tmp_path / "out", shard=f"{n}/2", **settings) for n in (1, 2)]
    assert [outcome.failed for outcome in outcomes] == [0, 0]
    shards = [tmp_path / "out" / f"shard-{number}-of-2" for number in (1, 2)]
    assert sorted(row["pair_id"] for shard in shards for row in rows_of(shard)) == ids
    assert all((shard / name).exists() for shard in shards for name in ("_SUCCESS.json", "manifest.parquet"))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"run.json", "_lock", *(shard.name for shard in shards)}
    sizes = [pq.read_metadata(file).num_rows for shard in shards for file in (shard / "pairs").iterdir()]
    assert max(sizes) == 4
    assert len(sizes) <= 8
    # An archive that grows moves no pair.
    make_pair(tmp_path / "in", "street_100")
    again = [run(tmp_path / "in", tmp_path / "out", shard=f"{n}/2", **settings) for n in (1, 2)]
    assert sum(outcome.fused_now for outcome in again) == 1
    assert sum(outcome.ok for outcome in again) == 21


def test_what_was_too_large_is_fused_once_the_limits_are_raised(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 1)
    make_pair(tmp_path / "in", "wide", size=(80, 48))
    heavy = tmp_path / "in" / "visible" / "heavy.png"
    make_pair(tmp_path / "in", "heavy")
    heavy.write_bytes(heavy.read_bytes() + bytes(1_000_000))
    strict = run(tmp_path / "in", tmp_path / "out", max_pixels=64 * 48, max_file_mb=1)
    assert (strict.ok, strict.failed) == (1, 2)
    errors = {row["pair_id"]: (row["error_code"], row["error"]) for row in rows_of(tmp_path / "out")}
    assert {code for code, _ in errors.values()} == {None, "too_large"}
    assert re.search(rf"{heavy}.*\b1000000\b.*--max-file-mb", errors["heavy"][1])
    assert re.search(r"80x48.*\b3072\b", errors["wide"][1])
    raised = run(tmp_path / "in", tmp_path / "out", retry_failed=True)
    assert (raised.fused_now, raised.ok, raised.failed) == (2, 3, 0)


@pytest.fixture(scope="module")
def from_manifest(tmp_path_factory: pytest.TempPathFactory) -> Fused:
    """A job whose pairs a manifest names, and whose images are files alone."""
    folder = tmp_path_factory.mktemp("manifest")
    make_archive(folder / "in", 2)
    manifest = folder / "in" / "manifest.csv"
    manifest.write_text(
        "pair_id,a_uri,b_uri,task\n"
        "0001,visible/street_000.png,infrared/street_000.png,ir_visible\n"
        f"0002,{folder}/in/visible/street_001.png,infrared/street_001.png,nir_visible\n"
    )
    outcome = run(manifest, folder / "out", images="files")
    return Fused(manifest, folder / "out", outcome, {row["pair_id"]: row for row in rows_of(folder / "out")})


def test_a_manifest_brings_its_own_ids_tasks_and_places(from_manifest: Fused) -> None:
    assert [(row["pair_id"], row["task"], row["status"]) for row in from_manifest.rows.values()] == [
        ("0001", "ir_visible", "ok"),
        ("0002", "nir_visible", "ok"),
    ]


def test_images_as_files_alone_leave_their_place_in_the_row(from_manifest: Fused) -> None:
    for row in from_manifest.rows.values():
        assert row["fused"]["bytes"] is None
        assert Path(row["fused_uri"]).parent == from_manifest.out / "images"
        assert open_fused(Path(row["fused_uri"]).read_bytes()).shape == (48, 64, 3)
