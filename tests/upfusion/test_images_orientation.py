"""The orientation that EXIF names is applied once."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from tests.image_files import chunk, exif, saved
from tests.upfusion.image_bytes import deep, noise
from upfusion.images import ImageError, decode_image, image_size, to_array


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, image_format: str) -> None:
    options: dict[str, Any] = {"lossless": True} if image_format == "WEBP" else {}
    image = Image.fromarray(noise((8, 24, 3)))
    data = saved(image, image_format, exif=exif(orientation), **options)
    with Image.open(io.BytesIO(data)) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    assert expected.shape[:2] == ((24, 8) if orientation >= 5 else (8, 24))
    decoded = decode_image(data).pixels
    np.testing.assert_array_equal(decoded, expected)
    assert decoded.flags.c_contiguous
    assert image_size(data) == expected.shape[1::-1]


@pytest.mark.parametrize("color", [True, False], ids=["color", "grey"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_to_16_bits(orientation: int, color: bool) -> None:
    pixels = noise((8, 24, 3) if color else (8, 24), np.uint16)
    plain = deep(pixels, ".png")
    data = plain[:33] + chunk(b"eXIf", exif(orientation).tobytes().removeprefix(b"Exif\0\0")) + plain[33:]
    # 8 x 24 places fit into the 8 bits of an image that Pillow turns.
    places = Image.fromarray(np.arange(8 * 24, dtype=np.uint8).reshape(8, 24))
    places.getexif()[ExifTags.Base.Orientation] = orientation
    expected = pixels.reshape(8 * 24, -1)[np.asarray(ImageOps.exif_transpose(places))].squeeze()
    np.testing.assert_array_equal(decode_image(data).pixels, expected)
    assert image_size(data) == expected.shape[1::-1]


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_does_not_exist_is_none(orientation: int) -> None:
    data = saved(Image.fromarray(noise((8, 24, 3))), "JPEG", exif=exif(orientation))
    assert decode_image(data).pixels.shape == (8, 24, 3)
    assert image_size(data) == (24, 8)


def test_a_pillow_image_is_turned_and_reduced_like_a_file() -> None:
    data = saved(Image.fromarray(noise((8, 24, 4))), "PNG", exif=exif(6))
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(to_array(image), decode_image(data).pixels)
    with pytest.raises(ImageError, match="no known range"):
        to_array(Image.new("F", (3, 3)))
