"""Damaged metadata costs no pixel."""

import struct

import numpy as np
import pytest
from PIL import Image

from tests.image_files import chunk, coloured, exif, noise, plain_png, saved
from tests.image_kinds import XMP
from upfusion.image_metadata import without_metadata
from upfusion.images import decode_image, image_size

BAD_EXIF = b"\0\x08\0\2\1\x12\0\3\0\0\0\1\0\1\0\0"  # a directory without the head II*\0
BROKEN = bytearray(chunk(b"tEXt", b"Comment\0something"))
BROKEN[-1] ^= 0xFF


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    plain = coloured("JPEG")
    parts = b"".join(struct.pack(">BBH", 0xFF, kind, len(body) + 2) + body for kind, body in segments)
    return plain[:2] + parts + plain[2:]


@pytest.mark.parametrize(
    "parts",
    [
        [chunk(b"eXIf", BAD_EXIF)],
        [chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 8\nzzzz")],
        [bytes(BROKEN)],
        [chunk(b"iCCP", b"name\0\0not deflated")],
        [chunk(b"zTXt", b"k\0\0not deflated")],
        [chunk(b"pHYs", b"\0")],
        [chunk(b"iTXt", b"k")],
        [chunk(b"acTL", b"\0")],
    ],
    ids=["EXIF", "raw profile", "checksum", "profile", "packed text", "resolution", "text", "animation"],
)
def test_a_png_with_damaged_metadata_is_read_as_stored(parts):
    np.testing.assert_array_equal(decode_image(plain_png(*parts)).pixels, decode_image(plain_png()).pixels)


def test_a_webp_with_damaged_exif_is_read_as_stored():
    image = Image.fromarray(noise(3))
    plain, bad = (saved(image, "WEBP", lossless=True, **more) for more in ({}, {"exif": BAD_EXIF}))
    np.testing.assert_array_equal(decode_image(bad).pixels, decode_image(plain).pixels)
    assert image_size(bad) == (64, 48)


@pytest.mark.parametrize(
    "segment",
    [
        (0xE1, b"Exif\0\0" + BAD_EXIF),
        (0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
        (0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff"),
        (0xE2, b"ICC_PROFILE\0"),
        (0xED, b"Photoshop 3.0\x008BIM\x04"),
        (0xE0, b"JFIF\0"),
    ],
    ids=["EXIF", "EXIF elsewhere", "MPF", "profile", "Photoshop", "JFIF"],
)
def test_a_jpeg_with_damaged_metadata_is_read_as_stored(segment):
    np.testing.assert_array_equal(decode_image(jpeg_with(segment)).pixels, decode_image(coloured("JPEG")).pixels)


def test_xmp_turns_what_damaged_exif_does_not():
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP % 6)
    assert decode_image(plain_png(chunk(b"eXIf", BAD_EXIF), text)).pixels.shape == (64, 48)
    assert decode_image(plain_png(text)).pixels.shape == (64, 48)


def test_an_orientation_is_kept_where_other_metadata_is_damaged():
    turned = chunk(b"eXIf", exif(6).tobytes().removeprefix(b"Exif\0\0"))
    assert decode_image(plain_png(turned, bytes(BROKEN))).pixels.shape == (64, 48)


def test_what_is_neither_png_nor_jpeg_is_left():
    assert without_metadata(coloured("BMP")) is None
    assert without_metadata(b"\x89PNG\r\n\x1a\n") is None
