import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.errors.exceptions import UsageError
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination
from pipelines.fuse.plan import plan_fuse
from pipelines.measure import measure as measuring
from pipelines.measure.config import MeasureConfig
from pipelines.measure.measure import Measurement, measure_images
from pipelines.storage import objects as storage
from pipelines.storage.ownership import write_claim
from pipelines.storage.parquet import read_table
from tests.pipelines.blocks import noise
from tests.pipelines.thermal import write_rig, write_thermal
from tests.stages import run_stages
from upfusion.images import encode_image
from upfusion.metrics import METRICS, measure


def draw(path: Path, seed: int, size: tuple[int, int] = (48, 60), dtype: type = np.uint8) -> np.ndarray:
    pixels = noise(*size, dtype=dtype, seed=seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_image(pixels, "png"))
    return pixels


def config(folder: Path | str, **changed: object) -> MeasureConfig:
    settings = {"a": f"{folder}/visible", "b": f"{folder}/infrared", "fused": f"{folder}/fused", "metrics": "ssim,en"}
    return MeasureConfig(**settings | changed)


@pytest.fixture
def archive(tmp_path) -> Path:
    """Two triplets, one deeper, and one image without partners."""
    for seed, name in enumerate(("1.png", "day/2.png")):
        for side in ("visible", "infrared", "fused"):
            draw(tmp_path / side / name, 10 * seed + len(side))
    draw(tmp_path / "fused" / "3.png", 99)
    return tmp_path


def names(measurement: Measurement) -> list[str]:
    return [one.triplet.name for one in measurement.measured]


def test_files_of_one_path_and_name_are_measured_together(archive):
    measurement = measure_images(config(archive))
    assert names(measurement) == ["1", "day/2"]
    assert measurement.left_out == [str(archive / "fused" / "3.png")]
    for one in measurement.measured:
        images = [np.asarray(Image.open(uri)) for uri in (one.triplet.a, one.triplet.b, one.triplet.fused)]
        expected = measure(*(measuring._luma(image) for image in images), ["ssim", "en"])
        assert one.values == {name: values[0] for name, values in expected.items()}
    values = [one.values["ssim"] for one in measurement.measured]
    assert measurement.summary["ssim"]["mean"] == pytest.approx(np.mean(values))
    assert set(measurement.summary) == {"ssim", "en"}


def test_the_destination_of_a_job_stands_for_its_images(archive):
    (archive / "out").mkdir()
    (archive / "fused").rename(archive / "out" / "images")
    write_claim(str(archive / "out"), {"digest": "1", "result": {}})
    measurement = measure_images(config(archive, fused=f"{archive}/out"))
    assert names(measurement) == ["1", "day/2"]
    shutil.rmtree(archive / "out" / "images")
    with pytest.raises(UsageError, match="upfusion export"):
        measure_images(config(archive, fused=f"{archive}/out"))


def test_folders_above_those_that_are_given_do_not_matter(archive):
    """As in the images of a job whose archive had `test/visible` and `test/infrared`."""
    expected = measure_images(config(archive)).measured
    moved = archive / "images" / "test"
    moved.parent.mkdir()
    (archive / "fused").rename(moved)
    measured = measure_images(config(archive, fused=str(moved.parent))).measured
    assert [one.triplet.a for one in measured] == [one.triplet.a for one in expected]
    assert [one.values for one in measured] == [one.values for one in expected]


def test_forms_of_unicode_may_differ(tmp_path):
    for side, name in (("visible", "caf\u00e9"), ("infrared", "cafe\u0301"), ("fused", "caf\u00e9")):
        draw(tmp_path / side / f"{name}.png", len(side))
    assert names(measure_images(config(tmp_path))) == ["caf\u00e9"]


def test_suffixes_may_differ(archive):
    Image.open(archive / "infrared" / "1.png").save(archive / "infrared" / "1.bmp")
    (archive / "infrared" / "1.png").unlink()
    (archive / "infrared" / "notes.txt").touch()
    assert names(measure_images(config(archive))) == ["1", "day/2"]


def test_three_files_are_one_triplet_whatever_their_names(tmp_path):
    files = {side: tmp_path / name for side, name in (("a", "vi.png"), ("b", "ir.png"), ("fused", "mine.png"))}
    for seed, path in enumerate(files.values()):
        draw(path, seed)
    measurement = measure_images(config(tmp_path, **{side: str(path) for side, path in files.items()}))
    assert names(measurement) == ["mine.png"]
    assert measurement.measured[0].values["en"] is not None


def test_images_in_a_store_are_measured_as_local_ones(archive, object_store):
    bucket = object_store.new_bucket()
    for path in archive.rglob("*.png"):
        storage.write_bytes(f"{bucket}/{path.relative_to(archive)}", path.read_bytes())
    here, there = measure_images(config(archive)), measure_images(config(bucket))
    assert [one.values for one in there.measured] == [one.values for one in here.measured]
    assert there.left_out == [f"{bucket}/fused/3.png"]


def test_16_bit_images_give_the_values_of_8_bit_ones(tmp_path):
    for seed, side in enumerate(("visible", "infrared", "fused")):
        pixels = draw(tmp_path / "8" / side / "1.png", seed)
        (tmp_path / "16" / side).mkdir(parents=True)
        (tmp_path / "16" / side / "1.png").write_bytes(encode_image(pixels.astype(np.uint16) * 257, "png"))
    shallow, deep = (measure_images(config(tmp_path / bits, metrics="all")) for bits in ("8", "16"))
    assert shallow.measured[0].values == deep.measured[0].values
    assert set(shallow.measured[0].values) == set(METRICS)


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda path: path.write_bytes(b""), "0 bytes"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "1.png: "),
        (lambda path: draw(path, 0, size=(48, 61)), "61x48"),
    ],
    ids=["empty", "cut", "size"],
)
def test_a_bad_image_fails_its_triplet_alone(archive, break_it, reason):
    break_it(archive / "fused" / "1.png")
    measurement = measure_images(config(archive))
    assert names(measurement) == ["1", "day/2"]
    (failed,) = measurement.failed
    assert reason in failed.error
    assert failed.values == {}
    assert measurement.summary["en"]["mean"] == measurement.measured[1].values["en"]


def test_a_decoder_that_breaks_fails_its_triplet_alone(archive, monkeypatch):
    decode = measuring.decode_image
    broken = (archive / "fused" / "1.png").read_bytes()

    def break_on_one(data: bytes) -> object:
        if data == broken:
            raise KeyError("a decoder's own mistake")
        return decode(data)

    monkeypatch.setattr(measuring, "decode_image", break_on_one)
    measurement = measure_images(config(archive))
    assert [one.triplet.name for one in measurement.failed] == ["1"]
    assert "1.png: " in measurement.failed[0].error


def test_a_metric_without_meaning_is_none_and_left_out_of_the_summary(tmp_path):
    for side in ("visible", "infrared", "fused"):
        (tmp_path / side).mkdir()
        Image.new("L", (60, 48), 7).save(tmp_path / side / "1.png")
    measurement = measure_images(config(tmp_path))
    assert measurement.measured[0].values == {"ssim": None, "en": None}
    assert measurement.summary == {}


def test_a_job_is_measured_on_what_it_fused(tmp_path):
    source = write_thermal(tmp_path / "in", 2)
    settings = {"metrics": "ssim,en", "images": "files", "rig": write_rig(tmp_path / "rig.json"), "no_tracking": True}
    plan = plan_fuse(FuseConfig(source=str(source), out=str(tmp_path / "out"), polarity_b="black-hot", **settings))
    run_stages(plan)
    rows = [row for uri in Destination(str(tmp_path / "out")).pair_files() for row in read_table(uri).to_pylist()]
    given = {"a": f"{source}/visible", "b": f"{source}/infrared", "fused": f"{tmp_path}/out"}
    measurement = measure_images(config(source, **given))
    expected = {row["pair_id"]: {name: row[name] for name in ("ssim", "en")} for row in rows}
    assert {one.triplet.name: one.values for one in measurement.measured} == expected
    # Elsewhere the same is said by options; without a rig sizes do not fit.
    options = {"polarity_b": "black-hot", "rig": settings["rig"]}
    folder = measure_images(config(source, **given | options | {"fused": f"{tmp_path}/out/images"}))
    assert {one.triplet.name: one.values for one in folder.measured} == expected
    (alone, _) = measure_images(config(source, **given | {"fused": f"{tmp_path}/out/images"})).measured
    assert "size" in alone.error
    with pytest.raises(UsageError, match=r"--polarity-b, --rig: FUSED.*DEST"):
        measure_images(config(source, **given, **options))
    with pytest.raises(UsageError, match="--rig auto"):
        measure_images(config(source, **given | {"fused": f"{tmp_path}/out/images", "rig": "auto"}))


def test_progress_is_told(archive):
    told = []
    measure_images(config(archive), lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_what_cannot_be_measured_is_refused(archive):
    with pytest.raises(UsageError, match="B nowhere"):
        measure_images(config(archive, b="nowhere"))
    with pytest.raises(UsageError, match=r"FUSED"):
        measure_images(config(archive, fused=str(archive / "fused" / "1.png")))
    with pytest.raises(UsageError, match="three folders"):
        measure_images(config(archive, b=str(archive / "infrared" / "day")))
    draw(archive / "visible" / "1.bmp.png", 3)
    (archive / "visible" / "1.bmp.png").rename(archive / "visible" / "1.bmp")
    with pytest.raises(UsageError, match=r"\bA\b.*'1'"):
        measure_images(config(archive))


def test_hidden_files_are_no_images(archive):
    for side in ("visible", "infrared", "fused"):
        for name in ("._1.png", ".DS_Store", "__MACOSX/1.png", "Thumbs.db"):
            (archive / side / name).parent.mkdir(exist_ok=True)
            (archive / side / name).write_bytes(b"\0\5\x16\7")
    measurement = measure_images(config(archive))
    assert names(measurement) == ["1", "day/2"]
    assert not measurement.failed
    assert measurement.left_out == [str(archive / "fused" / "3.png")]
