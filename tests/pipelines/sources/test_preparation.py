"""What a fuse job fused, read again from its folder; `--also b` keeps B as the network got it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.errors.exceptions import UsageError
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination
from pipelines.fuse.plan import plan_fuse
from pipelines.sources.preparation import Preparation
from pipelines.sources.settings import settings_of_job
from pipelines.storage.parquet import read_table
from tests.pipelines.thermal import row_of, write_rig, write_thermal
from tests.stages import run_stages
from upfusion.images import read_image


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_thermal(tmp_path_factory.mktemp("thermal") / "in")


def fuse(source: Path, out: Path, **options: object) -> dict[str, Any]:
    given = {"metrics": "none", "images": "files", "also": "b", "no_tracking": True, **options}
    run_stages(plan_fuse(FuseConfig(source=str(source), out=str(out), **given)))
    (file,) = Destination(str(out)).pair_files()
    (row,) = read_table(file).to_pylist()
    return row


@pytest.mark.parametrize(
    "options",
    [
        {"polarity_b": "black-hot"},
        {"rig": True, "polarity_b": "black-hot"},
        {"rig": True, "canvas": "a", "range_b": "per-image"},
        {"rig": True, "range_b": "22100:23000", "refine": "pair"},
    ],
    ids=lambda given: "-".join(given),
)
def test_a_destination_says_what_was_fused(archive: Path, tmp_path: Path, options: dict[str, object]) -> None:
    if "rig" in options:
        options = options | {"rig": write_rig(tmp_path / "rig.json")}
    row = fuse(archive, tmp_path / "out", **options)
    assert row["error"] is None
    fused = settings_of_job(str(tmp_path / "out"))
    assert fused is not None
    pair = fused.preparation.pair(row_of(archive))
    assert pair is not None
    registered = read_image(row["registered_uri"])
    assert registered.dtype == np.uint16  # warped at B's own depth
    assert registered.shape == pair[0].shape[:2] == (row["height"], row["width"])
    np.testing.assert_array_equal(pair[1], registered)
    assert len(np.unique(registered >> 8)) >= 200


def test_b_beside_the_picture_is_in_a_s_pixels_and_in_the_range_of_its_row(archive: Path, tmp_path: Path) -> None:
    plain = fuse(archive, tmp_path / "plain", range_b="22000:23200")
    row = fuse(archive, tmp_path / "out", rig=write_rig(tmp_path / "rig.json"), range_b="22000:23200")
    assert (row["width"], row["height"]) != (plain["width"], plain["height"])
    assert row["range_b"] == "22000:23200"
    counts = 22_000 + read_image(row["registered_uri"]) / 65535 * 1200
    fused = settings_of_job(str(tmp_path / "out"))
    assert fused is not None
    assert fused.rigs is not None
    left, top, width, height = fused.preparation.register.warp_for("000", "ir_visible")[1].box  # type: ignore[index]
    x, y = width // 2, height // 2
    in_b = fused.rigs.rigs[""].to_b(np.array([left + x, top + y], float))
    expected = read_image(archive / "infrared" / "000.png")[round(in_b[1]), round(in_b[0])]
    assert abs(counts[y, x] - expected) < 60  # noise of the scene is 19 counts


def test_a_pair_that_cannot_be_prepared_fails_its_row(archive: Path) -> None:
    row = row_of(archive)
    row["b_file"] = row["b_file"][:100]
    assert Preparation().pair(row) is None
    assert row["error_code"] == "truncated_image"


def test_what_is_no_destination_and_one_without_its_rig(archive: Path, tmp_path: Path) -> None:
    assert settings_of_job(str(archive)) is None
    fuse(archive, tmp_path / "out", rig=write_rig(tmp_path / "rig.json"))
    (tmp_path / "out" / "rig.json").unlink()
    with pytest.raises(UsageError, match=r"rig\.json"):
        settings_of_job(str(tmp_path / "out"))


def test_a_folder_of_an_earlier_version_was_fused_on_full_scales(archive: Path, tmp_path: Path) -> None:
    fuse(archive, tmp_path / "out")
    file = tmp_path / "out" / "run.json"
    run = json.loads(file.read_text())
    del run["ranges"], run["config"]["range_b"]
    file.write_text(json.dumps(run))
    fused = settings_of_job(str(tmp_path / "out"))
    assert fused is not None
    pair = fused.preparation.pair(row_of(archive))
    assert pair is not None
    np.testing.assert_array_equal(pair[1], read_image(archive / "infrared" / "000.png"))
