"""PNG files of plain arrays, read back by two other libraries."""

import io
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from upfusion.images import decode_image
from upfusion.png_encoder import encode_png


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (1, 1), (1, 9, 3), (9, 1), (300, 256, 3)])
def test_other_libraries_read_the_same_pixels(shape: tuple[int, ...], dtype: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    data = encode_png(pixels)
    opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert opencv is not None
    assert opencv.dtype == dtype
    np.testing.assert_array_equal(opencv if opencv.ndim == 2 else opencv[..., ::-1], pixels)
    np.testing.assert_array_equal(decode_image(data).pixels, pixels)
    with Image.open(io.BytesIO(data)) as image:
        image.verify()  # the checksums of all chunks


def test_pixels_that_do_not_lie_in_a_row() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    for turned in (pixels[:, ::-1], pixels.swapaxes(0, 1), pixels[::2, ::2], pixels[..., 0]):
        assert encode_png(turned) == encode_png(np.ascontiguousarray(turned))
        np.testing.assert_array_equal(decode_image(encode_png(turned)).pixels, turned)


def test_a_smooth_image_takes_less_room_than_its_pixels() -> None:
    y, x = np.mgrid[:200, :300]
    pixels = ((x + 2 * y) % 256).astype(np.uint8)
    assert len(encode_png(pixels)) < pixels.size / 20
