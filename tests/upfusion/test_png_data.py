"""A PNG whose packed pixels end too soon, which Pillow fills with black, is damaged."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.image_files import noise, png
from upfusion.images import ImageError, decode_image

HEIGHT, WIDTH = 20, 30


def rows(count: int, value: int = 7) -> bytes:
    return (b"\0" + bytes([value]) * WIDTH) * count


@pytest.mark.parametrize("count", [0, 1, 10, 19])
def test_missing_rows_are_damage(count):
    with pytest.raises(ImageError) as refused:
        decode_image(png(WIDTH, HEIGHT, rows(count)))
    assert refused.value.code == "damaged_image"


def test_rows_that_are_there_may_be_black():
    decoded = decode_image(png(WIDTH, HEIGHT, rows(10) + rows(10, 0))).pixels
    assert decoded[:10].min() == 7
    assert decoded[10:].max() == 0


def test_more_rows_than_declared_are_left():
    assert decode_image(png(WIDTH, HEIGHT, rows(50, 0))).pixels.shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (8, 8), (33, 17)])
@pytest.mark.parametrize(("color_type", "bits", "samples"), [(0, 8, 1), (2, 8, 3), (0, 1, 1), (2, 16, 3), (4, 16, 2)])
def test_an_interlaced_png_is_measured_pass_by_pass(size, color_type, bits, samples):
    width, height = size
    lines = []
    for x, y, dx, dy in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        columns, count = len(range(x, width, dx)), len(range(y, height, dy))
        lines += [b"\0" + b"\x55" * ((columns * bits * samples + 7) // 8)] * (count if columns else 0)
    whole = bytearray(png(width, height, b"".join(lines), bit_depth=bits, color_type=color_type))
    whole[28] = 1
    made = _with_checksum(whole)
    assert decode_image(made).pixels.shape[:2] == (height, width)
    short = bytearray(png(width, height, b"".join(lines)[:-1], bit_depth=bits, color_type=color_type))
    short[28] = 1
    with pytest.raises(ImageError) as refused:
        decode_image(_with_checksum(short))
    assert refused.value.code == "damaged_image"


def _with_checksum(data: bytearray) -> bytes:
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def test_several_parts_are_one_stream():
    image = Image.fromarray(np.concatenate([noise(3, width=300, height=200), np.zeros((1, 300, 3), np.uint8)]))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")  # in parts of 64 kB
    assert buffer.getvalue().count(b"IDAT") > 1
    np.testing.assert_array_equal(decode_image(buffer.getvalue()).pixels, np.asarray(image))
