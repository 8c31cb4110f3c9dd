"""Archives of thermal cameras through the stages of a fuse job: what a user finds in rows and images."""

import io
import json

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from pipelines.errors.exceptions import UsageError
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination
from pipelines.fuse.plan import plan_fuse
from pipelines.storage.parquet import read_table
from tests.camera_files import counts, dji_jpeg, flir_jpeg, jpeg, png, visible
from tests.stages import run_stages
from upfusion.cameras.flir import decode_flir
from upfusion.cameras.palettes import colourise
from upfusion.images import decode_image, read_image, to_8_bits

WIDTH, HEIGHT = 80, 60


def plan(source, out, **options):
    given = {"metrics": "none", "images": "files", "no_tracking": True, **options}
    return plan_fuse(FuseConfig(source=str(source), out=str(out), **given))


def fuse(source, out, **options):
    run_stages(plan(source, out, **options))
    rows = [row for uri in Destination(str(out)).pair_files() for row in read_table(uri).to_pylist()]
    return {row["pair_id"]: row for row in rows}


def put(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name.replace("__", ".")).write_bytes(data)


def archive(folder, count=3, low=22_000, high=23_200, start=0):
    for number in range(start, start + count):
        put(folder / "visible", **{f"{number}__jpg": jpeg(visible(number, WIDTH, HEIGHT))})
        put(folder / "infrared", **{f"{number}__png": png(counts(number, low, high))})
    return folder


def tiff(values):
    data = io.BytesIO()
    tifffile.imwrite(data, values)
    return data.getvalue()


def b_of(out, pair_id):
    return decode_image((out / "registered" / f"{pair_id}.tif").read_bytes()).pixels


def test_counts_span_the_grey_levels_alike_in_two_runs_and_as_the_archive_grows(tmp_path):
    source = archive(tmp_path / "in")
    rows = fuse(source, tmp_path / "one", also="b")
    again = fuse(source, tmp_path / "two", also="b")
    assert {row["status"] for row in rows.values()} == {"ok"}
    (ranges,) = {row["range_b"] for row in rows.values()}
    assert {row["range_b"] for row in again.values()} == {ranges}
    for pair_id in rows:
        assert len(np.unique(to_8_bits(b_of(tmp_path / "one", pair_id)))) >= 200
        np.testing.assert_array_equal(b_of(tmp_path / "one", pair_id), b_of(tmp_path / "two", pair_id))
    # Ten degrees warmer: by itself it would be stretched to the same levels.
    archive(source, 2, 25_000, 26_000, start=7)
    grown = plan(source, tmp_path / "one", also="b")
    assert grown.ranges["b"] == {"uint16": ranges}
    assert plan(source, tmp_path / "three", also="b").ranges["b"] != {"uint16": ranges}
    assert json.loads((tmp_path / "one" / "run.json").read_text())["ranges"] == grown.ranges


def test_the_full_scale_is_noted_where_little_of_it_is_used(tmp_path):
    rows = fuse(archive(tmp_path / "in", 1), tmp_path / "out", range_b="full")
    assert "1.8 %" in rows["0"]["note"]
    assert rows["0"]["range_b"] is None
    with pytest.raises(UsageError, match="range_b"):
        Destination(str(tmp_path / "out")).claim(plan(tmp_path / "in", tmp_path / "out").run)


def test_a_range_is_fixed_inverted_or_each_image_s_own(tmp_path):
    source = archive(tmp_path / "in", 1)
    raw = counts(0)
    rows = fuse(source, tmp_path / "fixed", range_b="22100:23000", polarity_b="black-hot", also="b")
    assert rows["0"]["range_b"] == "22100:23000"
    expected = 65535 - np.rint(np.clip((raw - 22100.0) / 900, 0, 1) * 65535)
    assert np.abs(b_of(tmp_path / "fixed", "0") - expected).max() <= 1
    own = fuse(source, tmp_path / "own", range_b="per-image")
    low, high = map(float, own["0"]["range_b"].split(":"))
    assert 22_000 <= low < 22_100
    assert 23_100 < high <= 23_200


def test_float_degrees_are_fused(tmp_path):
    degrees = (counts() / 100 - 210).astype(np.float32)
    put(tmp_path / "in" / "a", x__png=png(visible(0, WIDTH, HEIGHT)))
    put(tmp_path / "in" / "b", x__tif=tiff(degrees))
    assert fuse(tmp_path / "in", tmp_path / "auto")["x"]["status"] == "ok"
    fixed = fuse(tmp_path / "in", tmp_path / "fixed", range_b="10C:22C", also="b")["x"]
    assert (fixed["status"], fixed["range_b"]) == ("ok", "10C:22C")
    back = 10 + b_of(tmp_path / "fixed", "x") / 65535 * 12
    np.testing.assert_allclose(back, degrees, atol=1e-3)
    with Image.open(tmp_path / "fixed" / "registered" / "x.tif") as image:
        assert image.getexif()[ExifTags.Base.ImageDescription] == "0 is 10C, 65535 is 22C"
    full = fuse(tmp_path / "in", tmp_path / "full", range_b="full")["x"]
    assert full["error_code"] == "unsupported_image"
    assert "--range-b auto" in full["error"]


def test_a_folder_of_radiometric_jpegs_is_an_archive(tmp_path):
    raw, photo = counts(width=160, height=120), visible(0, 640, 480)
    put(tmp_path / "in", FLIR0001__jpg=flir_jpeg(raw, photo=photo), notes__txt=b"x", photo__jpg=jpeg(photo))
    rows = fuse(tmp_path / "in", tmp_path / "out", also="b")
    assert list(rows) == ["FLIR0001"]
    assert rows["FLIR0001"]["error"] is None
    # 640 / 1.25 by 480 / 1.25: what B sees of A.
    assert (rows["FLIR0001"]["width"], rows["FLIR0001"]["height"]) == (512, 384)
    low, high = map(float, rows["FLIR0001"]["range_b"].split(":"))
    b = low + read_image(rows["FLIR0001"]["registered_uri"]) / 65535 * (high - low)
    assert np.abs(cv2.resize(b, (160, 120), interpolation=cv2.INTER_AREA) - np.clip(raw, low, high)).mean() < 8


def test_a_radiometric_jpeg_as_b_gives_its_counts_and_its_temperatures(tmp_path):
    raw = counts(low=15_000, high=16_000)
    data = flir_jpeg(raw)
    put(tmp_path / "in" / "visible", x__jpg=jpeg(visible(0, WIDTH, HEIGHT)))
    put(tmp_path / "in" / "infrared", x__jpg=data)
    found = decode_flir(data)
    celsius = found.planck.to_celsius(found.counts)
    low, high = int(celsius.min()) - 1, int(celsius.max()) + 1
    row = fuse(tmp_path / "in", tmp_path / "out", range_b=f"{low}C:{high}C", also="b")["x"]
    assert row["error"] is None
    np.testing.assert_allclose(low + b_of(tmp_path / "out", "x") / 65535 * (high - low), celsius, atol=1e-2)


def test_a_preview_is_noted(tmp_path):
    put(tmp_path / "in" / "visible", x__jpg=jpeg(visible()))
    put(tmp_path / "in" / "infrared", x__jpg=dji_jpeg())
    row = fuse(tmp_path / "in", tmp_path / "out")["x"]
    assert "DJI" in row["note"]
    assert row["status"] == "ok"


def test_a_palette_is_turned_back_and_named(tmp_path):
    values = to_8_bits(((counts(3).astype(float) - 22_000) / 1200 * 65535).astype(np.uint16))
    put(tmp_path / "in" / "a", x__png=png(visible(0, WIDTH, HEIGHT)), y__png=png(visible(0, WIDTH, HEIGHT)))
    put(
        tmp_path / "in" / "b",
        x__png=png(colourise(values, "rainbow")[..., ::-1]),
        y__png=png(visible(5, WIDTH, HEIGHT)),
    )
    rows = fuse(tmp_path / "in", tmp_path / "out", also="b")
    assert rows["x"]["palette"] == "rainbow"
    found = decode_image((tmp_path / "out" / "registered" / "x.png").read_bytes()).pixels
    assert np.corrcoef(found.ravel(), values.ravel())[0, 1] > 0.98
    assert rows["y"]["palette"] is None
    assert "palette" in rows["y"]["note"]
    luma = fuse(tmp_path / "in", tmp_path / "luma", palette_b="none")
    assert (luma["x"]["palette"], luma["x"]["note"]) == (None, None)


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp", "tiff"])
def test_place_time_and_camera_of_a_travel_along(tmp_path, image_format):
    block = Image.Exif()
    block[271], block[272], block[274] = "DJI", "M3T", 6
    block[ExifTags.IFD.Exif] = {0x9003: "2024:05:04 10:11:12"}
    block[ExifTags.IFD.GPSInfo] = {1: "N", 2: (47.0, 30.0, 0.0), 3: "E", 4: (8.0, 15.0, 0.0), 5: b"\0", 6: 431.0}
    put(tmp_path / "in" / "a", x__jpg=jpeg(visible(0, WIDTH, HEIGHT), exif=block.tobytes()))
    put(tmp_path / "in" / "b", x__png=png(np.rot90(counts(), -1)))
    row = fuse(tmp_path / "in", tmp_path / "out", format=image_format)["x"]
    assert (row["width"], row["height"]) == (HEIGHT, WIDTH)
    assert (row["taken_at"], row["camera"]) == ("2024-05-04T10:11:12", "DJI M3T")
    assert (row["latitude"], row["longitude"], row["altitude"]) == (47.5, 8.25, 431.0)
    with Image.open(row["fused_uri"]) as image:
        assert image.size == (HEIGHT, WIDTH)
        found = image.getexif()
        assert found.get(ExifTags.Base.Orientation, 1) == 1
        assert found.get_ifd(ExifTags.IFD.GPSInfo)[2] == (47.0, 30.0, 0.0)
        assert found.get_ifd(ExifTags.IFD.Exif)[0x9003] == "2024:05:04 10:11:12"
    private = fuse(tmp_path / "in", tmp_path / "none", format=image_format, metadata="none")["x"]
    assert (private["taken_at"], private["latitude"], private["camera"]) == (None, None, None)
    with Image.open(private["fused_uri"]) as image:
        assert not image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
        assert 271 not in image.getexif()


def test_b_is_scaled_where_that_is_asked_for(tmp_path):
    put(tmp_path / "in" / "a", x__jpg=jpeg(visible(0, 160, 120)))
    put(tmp_path / "in" / "b", x__png=png(counts()))
    refused = fuse(tmp_path / "in", tmp_path / "refused")["x"]
    assert refused["error_code"] == "size_mismatch"
    assert "--resize b-to-a" in refused["error"]
    row = fuse(tmp_path / "in", tmp_path / "out", resize="b-to-a", also="b")["x"]
    assert (row["status"], row["width"], row["height"]) == ("ok", 160, 120)
    assert b_of(tmp_path / "out", "x").shape == (120, 160)


def test_cameras_names_are_paired(tmp_path):
    names = {f"DJI_{n:04}_{letter}__JPG": jpeg(visible(n, WIDTH, HEIGHT)) for n in (1, 2) for letter in "TWZ"}
    put(tmp_path / "in", **names, DJI_0003_T__JPG=jpeg(visible()))
    found = plan(tmp_path / "in", tmp_path / "out", pair_by="name").found
    assert found.pairs["pair_id"].to_pylist() == ["DJI_0001_W", "DJI_0002_W"]
    assert [uri.rsplit("/", 1)[1] for uri in found.unpaired] == ["DJI_0003_T.JPG"]
    assert found.ignored == 2


def test_a_second_apart_by_exif(tmp_path):
    for folder, second in (("visible", 10), ("infrared", 11)):
        block = Image.Exif()
        block[ExifTags.IFD.Exif] = {0x9003: f"2024:05:04 10:11:{second}"}
        put(tmp_path / "in" / folder, **{f"{folder}7__jpg": jpeg(visible(), exif=block.tobytes())})
    assert plan(tmp_path / "in", tmp_path / "out", pair_by="time").found.pairs["pair_id"].to_pylist() == ["visible7"]
    with pytest.raises(UsageError):
        plan(tmp_path / "in", tmp_path / "out", pair_by="time:0.5")


@pytest.mark.parametrize(
    ("a", "b", "pair_id"),
    [
        ("set00/V000/visible/I00000.jpg", "set00/V000/lwir/I00000.jpg", "set00/V000/I00000"),
        ("train/RGB/FLIR_00001.jpg", "train/thermal_8_bit/FLIR_00001.jpeg", "train/FLIR_00001"),
        ("train/trainimg/00001.jpg", "train/trainimgr/00001.jpg", "train/00001"),
        ("bus_001/rgb/000001.jpg", "bus_001/ir/000001.jpg", "bus_001/000001"),
        ("Vis/00000.png", "Ir/00000.png", "00000"),
        ("visible/train/010001.jpg", "infrared/train/010001.jpg", "train/010001"),
        (
            "video_rgb_test/data/video-A-frame-1-x.jpg",
            "video_thermal_test/data/video-B-frame-1-y.jpg",
            "video-A-frame-1-x",
        ),
    ],
    ids=["KAIST", "FLIR ADAS 1", "DroneVehicle", "VTUAV", "M3FD", "LLVIP", "FLIR ADAS 2"],
)
def test_layouts_of_data_sets_need_no_options(tmp_path, a, b, pair_id):
    for name in (a, b):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(jpeg(visible(0, 16, 16)))
    if "thermal_8_bit" in b:
        put(tmp_path / "in" / "train" / "thermal_16_bit", FLIR_00001__tiff=tiff(counts()))
    if "video" in a:
        table = {a.rsplit("/", 1)[1]: b.rsplit("/", 1)[1]}
        put(tmp_path / "in", rgb_to_thermal_vid_map__json=json.dumps(table).encode())
    pairs = plan(tmp_path / "in", tmp_path / "out").found.pairs
    assert pairs["pair_id"].to_pylist() == [pair_id]
    assert pairs["b_uri"][0].as_py().endswith(b)


def test_a_tiff_keeps_a_s_georeference(tmp_path):
    data = io.BytesIO()
    tags = [(33550, 12, 3, (0.5, 0.5, 0.0), True), (33922, 12, 6, (0.0, 0.0, 0.0, 465e3, 5247e3, 0.0), True)]
    tifffile.imwrite(data, visible(0, WIDTH, HEIGHT), photometric="rgb", extratags=tags)
    put(tmp_path / "in" / "a", x__tif=data.getvalue())
    put(tmp_path / "in" / "b", x__png=png(counts()))
    row = fuse(tmp_path / "in", tmp_path / "out", format="tiff")["x"]
    assert row["error"] is None
    with tifffile.TiffFile(row["fused_uri"]) as file:
        assert file.pages[0].dtype == np.uint16
        assert file.pages[0].tags[33922].value[3:5] == (465e3, 5247e3)
