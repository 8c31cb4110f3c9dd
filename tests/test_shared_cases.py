"""Every generator of ../shared/cases, with what is right for it (its README)."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import upfusion
from pipelines.measure.config import MeasureConfig
from pipelines.measure.measure import measure_images
from tests.pipelines.fuse.footage.job import Job
from upfusion.images import ImageError, decode_image, image_size

CASES = Path(__file__).parents[2] / "shared" / "cases"

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not here")

GENERATORS = {
    "api_big_endian", "image_bad_exif", "image_tiff_12bit", "image_tiff_16bit_kinds", "image_tiff_planar16",
    "image_tiff_xmp_orientation", "image_unsupported_kinds", "measure_macos_files", "recording_mkv_seconds",
    "recording_open_gop", "recording_phone_rate", "recording_sar", "recording_ts_restart",
}  # fmt: skip


@pytest.fixture
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The files of the generator that the test is named after."""
    name = request.node.originalname.removeprefix("test_")
    subprocess.run([sys.executable, CASES / f"{name}.py", tmp_path / "in"], check=True, capture_output=True)
    return tmp_path / "in"


@pytest.fixture(scope="module")
def model() -> upfusion.FusionModel:
    return upfusion.load("tiny")


def pixels(path: Path) -> np.ndarray:
    return decode_image(path.read_bytes()).pixels


def test_every_generator_has_a_test() -> None:
    found = {path.stem for path in CASES.glob("*.py") if not path.stem.startswith("_")}
    assert found == GENERATORS
    assert all(f"test_{name}" in globals() for name in GENERATORS)


def test_image_tiff_planar16(made: Path, model: upfusion.FusionModel) -> None:
    a, b = (model.fuse(made / f"visible/{n}.tif", made / f"infrared/{n}.png") for n in ("planar", "interleaved"))
    assert a.dtype == np.uint16
    np.testing.assert_array_equal(a, b)


def test_image_tiff_xmp_orientation(made: Path, model: upfusion.FusionModel) -> None:
    files = [made / side / "mixed.tif" for side in ("visible", "infrared")]
    assert [image_size(file.read_bytes()) for file in files] == [(48, 64)] * 2
    assert model.fuse(*files).shape == (64, 48, 3)


def test_image_tiff_12bit(made: Path, model: upfusion.FusionModel) -> None:
    whole = model.fuse(made / "visible/bits16.png", made / "infrared/bits16.png").astype(float) / 65535
    for bits in (10, 12, 14):
        fused = model.fuse(made / f"visible/bits{bits}.png", made / f"infrared/bits{bits}.tif") / 65535
        # A level at most in either source, which the gains may amplify.
        assert np.abs(fused - whole).max() <= 2 / ((1 << bits) - 1)


def test_image_tiff_16bit_kinds(made: Path) -> None:
    kinds = {path.stem: decode_image(path.read_bytes()) for path in (made / "infrared").iterdir()}
    black = kinds.pop("le_black0").pixels
    bands = kinds.pop("five_bands").pixels
    np.testing.assert_array_equal(bands, np.dstack([black] * 3))
    assert [name for name, image in kinds.items() if image.alpha_dropped] == ["grey_alpha"]
    for image in kinds.values():
        np.testing.assert_array_equal(image.pixels, black)


def test_image_unsupported_kinds(made: Path) -> None:
    files = [*(made / "infrared").iterdir()]
    assert len(files) >= 4
    for path in files:
        with pytest.raises(ImageError) as refused:
            decode_image(path.read_bytes())
        assert refused.value.code == "unsupported_image"
        assert any(kind in str(refused.value) for kind in ("floats", "12 bits", "lossless JPEG", "JPEG-LS"))


def test_image_bad_exif(made: Path) -> None:
    plain = pixels(made / "visible/png_plain.png")
    for name in ("png_exif.png", "png_raw_profile.png", "webp_exif.webp"):
        np.testing.assert_array_equal(pixels(made / "visible" / name), plain)
    assert pixels(made / "visible/jpeg_exif.jpg").shape == plain.shape


def test_measure_macos_files(made: Path) -> None:
    folders = {"a": f"{made}/visible", "b": f"{made}/infrared", "fused": f"{made}/fused"}
    measurement = measure_images(MeasureConfig(**folders, metrics="en"))
    assert [one.triplet.name for one in measurement.measured] == ["1", "2"]
    assert not measurement.failed
    assert not measurement.left_out


def test_api_big_endian(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(CASES / "api_big_endian.py"))
    assert capsys.readouterr().out.strip() == "True"


def fused(made: Path, name: str, out: Path, **settings: Any) -> list[dict[str, Any]]:
    """The rows of a pair of recordings; A's frames stand in for fused ones, which nothing here is about."""
    a, b = (next(file for file in (made / side).iterdir() if file.stem == name) for side in ("visible", "infrared"))
    job = Job(out / name, **{"metrics": "none", "segment_seconds": 10.0, **settings})
    job.actor.fuse_ready = lambda ready, *_: [one.a for one in ready]  # type: ignore[method-assign]
    return job.fuse(job.cut(a, b))


def test_recording_mkv_seconds(made: Path, tmp_path: Path) -> None:
    for name in ("a_late", "a_sound"):
        assert [row["note"] for row in fused(made, name, tmp_path)] == [None]
    plain, late, sound = (fused(made, name, tmp_path, segment_seconds=2.0) for name in ("b_plain", "b_late", "b_sound"))
    for rows in (plain, late, sound):
        assert [row["status"] for row in rows] == ["ok"] * 3
        assert [row["frames"] for row in rows] == [row["frames"] for row in plain]


def test_recording_phone_rate(made: Path, tmp_path: Path) -> None:
    for name in ("phone", "two_phones"):
        (row,) = fused(made, name, tmp_path)
        assert (row["rate"], row["frames"], row["note"]) == (30.0, 120, None)
    (half,) = fused(made, "phone", tmp_path / "every", every=2)
    assert half["frames"] == 60


def test_recording_ts_restart(made: Path, tmp_path: Path) -> None:
    (row,) = fused(made, "cam", tmp_path)
    assert row["error_code"] == "unsupported_recording"
    assert " 3." in row["error"]


def test_recording_open_gop(made: Path, tmp_path: Path) -> None:
    for name in ("h264_mp4", "h264_mkv", "h265_ts"):
        rows = fused(made, name, tmp_path, segment_seconds=2.0)
        assert [row["note"] for row in rows] == [None] * len(rows)
        assert sum(row["frames"] for row in rows) == 100
        assert sum(row["a_damaged"] for row in rows) == 0


def test_recording_sar(made: Path, tmp_path: Path) -> None:
    job = Job(tmp_path / "out", metrics="none", segment_seconds=10.0)
    job.actor.fuse_ready = lambda ready, *_: [one.a for one in ready]  # type: ignore[method-assign]
    _, about = job.run(made / "visible/pal.mp4", made / "infrared/pal.mp4")
    with av.open(about["uri"]) as container:
        assert str(container.streams.video[0].sample_aspect_ratio) == "16/11"
