"""The size of an image is known from the head of its file, and bounded."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.image_files import exif, png, saved
from tests.upfusion.image_bytes import image_error, noise
from upfusion.images import ImageFormat, decode_image, encode_image, image_size

HEAD = 1 << 16
"""What the fuse job reads of a file to learn its size."""


@pytest.mark.parametrize("side", [10_001, 30_000], ids=["more than ours", "more than Pillow's"])
def test_a_decompression_bomb_is_refused_unread(side: int) -> None:
    bomb = png(side, side, b"", bit_depth=8, color_type=2)
    for reader in (decode_image, image_size):
        with image_error("too_large", rf"({side}x{side}|{side * side} pixels)"):
            reader(bomb)


def test_the_limit_of_pixels_is_an_argument_and_no_ones_global() -> None:
    allowed, refused = (saved(Image.new("L", (10, height)), "PNG") for height in (10, 11))
    assert decode_image(allowed, 100).pixels.shape == (10, 10)
    with image_error("too_large", "10x11, more than 100 pixels"):
        decode_image(refused, 100)
    assert decode_image(refused).pixels.shape == (11, 10)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "BMP", "TIFF"])
def test_size_is_read_from_the_head(image_format: str) -> None:
    data = saved(Image.fromarray(noise((300, 400, 3))), image_format)
    assert len(data) > HEAD
    assert image_size(data[:HEAD]) == (400, 300)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "TIFF"])
def test_size_as_displayed_is_read_from_the_head(image_format: str) -> None:
    data = saved(Image.fromarray(noise((300, 400, 3))), image_format, exif=exif(6))
    assert image_size(data[:HEAD]) == (300, 400)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0"}], ids=["VP8", "VP8L", "VP8X"])
def test_size_is_read_from_the_head_of_a_webp(options: dict[str, Any]) -> None:
    data = saved(Image.fromarray(noise((300, 400, 3))), "WEBP", **options)
    assert len(data) > HEAD
    assert image_size(data[:HEAD]) == (400, 300)


def test_a_webp_without_pixels_has_no_size() -> None:
    with image_error("damaged_image"):
        image_size(b"RIFF\x16\0\0\0WEBPVP8 \x0a\0\0\0\x10\0\0\x9d\x01\x2a" + bytes(4))


@pytest.mark.parametrize(("image_format", "longest"), [("jpeg", 65500), ("webp", 16383)])
def test_what_a_format_cannot_hold_is_refused(image_format: ImageFormat, longest: int) -> None:
    assert image_size(encode_image(np.zeros((1, longest), np.uint8), image_format)) == (longest, 1)
    with image_error("write_failed", f"{image_format} holds at most {longest}"):
        encode_image(np.zeros((1, longest + 1), np.uint8), image_format)
