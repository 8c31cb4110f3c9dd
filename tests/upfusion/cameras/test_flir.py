import cv2
import numpy as np
import pytest

from tests.camera_files import camera_info, counts, damaged, dji_jpeg, fff, flir_jpeg, jpeg, png, visible, with_segments
from upfusion.cameras.flir import decode_flir
from upfusion.cameras.planck import Planck
from upfusion.cameras.radiometric import radiometric_kind
from upfusion.image_guard import ImageError

LAYOUTS = [(stored, a, b) for stored in ("png-swapped", "png", "raw") for a in "<>" for b in "<>"]


@pytest.mark.parametrize(("stored", "directory", "record"), LAYOUTS)
def test_counts_are_read_in_every_layout_and_byte_order(stored, directory, record):
    raw = counts()
    data = flir_jpeg(raw, photo=visible(), stored=stored, directory=directory, record=record)
    found = decode_flir(data)
    np.testing.assert_array_equal(found.counts, raw)
    assert found.visible.shape == (240, 320, 3)
    assert np.abs(found.visible.astype(int) - visible()).mean() < 3
    assert (found.placement.offset_x, found.placement.offset_y) == (5, -3)
    assert found.planck.o == -6646


def test_an_independent_reader_finds_the_same():
    flyr = pytest.importorskip("flyr", reason="flyr, which reads FLIR files by itself, is not installed")
    import io

    raw = counts()
    for stored in ("png-swapped", "raw"):
        data = flir_jpeg(raw, photo=visible(), stored=stored)
        found, theirs = decode_flir(data), flyr.unpack(io.BytesIO(data))
        np.testing.assert_allclose(found.planck.to_celsius(found.counts), theirs.celsius, atol=1e-3)
        np.testing.assert_array_equal(found.visible, theirs.optical)


def test_a_flat_image_has_the_byte_order_of_the_camera_s_median():
    flat = np.full((60, 80), 22_600, np.uint16)
    for stored in ("png-swapped", "png"):
        np.testing.assert_array_equal(decode_flir(flir_jpeg(flat, stored=stored)).counts, flat)


def test_a_visible_image_stored_as_a_png_of_ycbcr_becomes_rgb():
    photo = visible()
    y, cr, cb = cv2.split(cv2.cvtColor(photo, cv2.COLOR_RGB2YCrCb))
    stored = png(cv2.merge([cr, cb, y]))  # OpenCV's order is blue, green, red: Y is the file's first channel
    raw = counts()
    head = np.array([2, 80, 60], "<u2").tobytes() + bytes(26)
    records = [(1, head + png(raw)), (0x0E, np.array([3, 320, 240], "<u2").tobytes() + bytes(26) + stored)]
    found = decode_flir(with_segments(jpeg(photo), fff(records)))
    assert np.abs(found.visible.astype(int) - photo).max() <= 3


def test_the_placement_is_a_transform_between_pixel_centres():
    placement = decode_flir(flir_jpeg(counts(), photo=visible())).placement
    matrix = placement.matrix((320, 240), (80, 60))
    centre = matrix @ [39.5, 29.5, 1]
    np.testing.assert_allclose(centre, [159.5 + 5, 119.5 - 3, 1])
    np.testing.assert_allclose(matrix[0, 0], 320 / 1.25 / 80)


def test_hot_things_are_hotter():
    planck = Planck.parse(camera_info())
    celsius = planck.to_celsius(np.array([14_000, 15_000, 16_000, 22_600]))
    assert (np.diff(celsius) > 0).all()
    black_body = Planck.parse(camera_info(emissivity=1.0, distance=0.0, transmission=1.0))
    signal = 13799.269 / (0.022241818 * (np.exp(1374.5 / 310.15) - 1.35)) + 6646
    assert black_body.to_celsius(np.array([signal]))[0] == pytest.approx(37.0, abs=1e-3)
    assert np.isnan(black_body.to_celsius(np.array([0.0]))[0])


@pytest.mark.parametrize("changes", [{"emissivity": 0.0}, {"r1": float("nan")}, {"reflected": 1e9}, {"humidity": -1.0}])
def test_a_calibration_that_cannot_be_is_none(changes):
    assert decode_flir(flir_jpeg(counts(), changes=changes)).planck is None


def test_kinds_are_told_apart():
    assert radiometric_kind(flir_jpeg(counts())[:4096]) == "flir"
    assert radiometric_kind(dji_jpeg()) == "dji"
    assert radiometric_kind(jpeg(visible())) is None
    assert radiometric_kind(b"FLIR\0") is None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (jpeg(visible()), "not_an_image"),
        (b"", "not_an_image"),
        (with_segments(jpeg(visible()), fff([])), "unsupported_image"),
        (with_segments(jpeg(visible()), b"JUNK" * 99), "truncated_image"),
        (with_segments(jpeg(visible()), fff([(1, bytes(8))])), "truncated_image"),
        (with_segments(jpeg(visible()), fff([(1, b"\2\0\xff\xff\xff\xff" + bytes(26))])), "too_large"),
        (with_segments(jpeg(visible()), fff([(1, b"\2\0\x50\0\x3c\0" + bytes(999))])), "truncated_image"),
        (flir_jpeg(counts()).replace(b"FLIR\0\1\0", b"FLIR\0\1\7", 1), "truncated_image"),
    ],
    ids=["no records", "empty", "no raw data", "no FFF", "short", "4 billion pixels", "cut", "numbers"],
)
def test_a_damaged_file_has_its_code(data, code):
    with pytest.raises(ImageError) as refused:
        decode_flir(data)
    assert refused.value.code == code


def test_more_pixels_than_allowed_are_not_decoded():
    with pytest.raises(ImageError, match="80x60"):
        decode_flir(flir_jpeg(counts()), max_pixels=80 * 60 - 1)


def test_damaged_files_end_in_an_image_or_an_error():
    files = [flir_jpeg(counts(), photo=visible(), stored=stored) for stored in ("png-swapped", "raw")]
    decoded = 0
    for data in damaged(files, 1000):
        try:
            found = decode_flir(data, 1_000_000)
        except ImageError:
            continue
        decoded += 1
        assert found.counts.dtype == np.uint16
        assert found.counts.size <= 1_000_000
    assert decoded > 10
