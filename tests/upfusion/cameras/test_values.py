import io

import numpy as np
import pytest
import tifffile

from tests.camera_files import damaged
from upfusion.cameras.values import decode_values, is_value_tiff
from upfusion.image_guard import ImageError

DEGREES = np.random.default_rng(0).normal(20, 3, (48, 64))


def tiff(values, **options):
    data = io.BytesIO()
    tifffile.imwrite(data, values, **options)
    return data.getvalue()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int32", "uint32"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"rowsperstrip": 5}])
def test_values_are_read_as_another_library_wrote_them(dtype, byteorder, options):
    values = (DEGREES * 50).astype(dtype)
    data = tiff(values, byteorder=byteorder, **options)
    assert is_value_tiff(data)
    found = decode_values(data)
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(orientation):
    turned = {
        1: DEGREES, 2: DEGREES[:, ::-1], 3: DEGREES[::-1, ::-1], 4: DEGREES[::-1], 5: DEGREES.T,
        6: np.rot90(DEGREES, -1), 7: DEGREES[::-1, ::-1].T, 8: np.rot90(DEGREES),
    }  # fmt: skip
    data = tiff(DEGREES, extratags=[(274, 3, 1, orientation, True)])
    np.testing.assert_array_equal(decode_values(data), turned[orientation])


def test_no_data_is_no_number():
    values = DEGREES.astype(np.float32)
    values[0, :3] = -9999, np.inf, -3.4e38
    found = decode_values(tiff(values, extratags=[(42113, 2, 0, "-9999", True)]))
    assert np.isnan(found[0, :2]).all()
    np.testing.assert_array_equal(found[1:], values[1:])


@pytest.mark.parametrize(
    "data",
    [
        tiff(DEGREES.astype(np.uint16)),
        tiff(np.zeros((8, 8, 3), np.float32), photometric="rgb"),
        tiff(DEGREES.astype(np.float16)),
        tiff(DEGREES.astype(np.float32), photometric="miniswhite"),
        b"II*\0",
        b"",
    ],
    ids=["16 bits", "three channels", "half floats", "white is zero", "a head alone", "nothing"],
)
def test_other_files_are_none(data):
    assert not is_value_tiff(data)
    with pytest.raises(ImageError) as refused:
        decode_values(data)
    assert refused.value.code == "unsupported_image"


def test_a_file_that_ends_early_is_truncated_and_a_huge_one_not_decoded():
    data = tiff(DEGREES.astype(np.float32))
    with pytest.raises(ImageError) as refused:
        decode_values(data[:-100])
    assert refused.value.code == "truncated_image"
    with pytest.raises(ImageError) as refused:
        decode_values(data, 1000)
    assert refused.value.code == "too_large"


def test_damaged_files_end_in_values_or_an_error():
    files = [tiff(DEGREES.astype(np.float32), metadata=None, **o) for o in ({}, {"compression": "zlib"})]
    decoded = 0
    for data in damaged(files, 1000):
        try:
            decoded += decode_values(data, 1_000_000).size > 0
        except ImageError:
            continue
    assert decoded > 100
