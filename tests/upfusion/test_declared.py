"""What a header declares, and decoded pixels that are something else."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.image_files import ORDINARY, coloured, noise, png, saved
from upfusion import images
from upfusion.declared import Declared, declared, ends_early, other_kind
from upfusion.images import ImageError, decode_image


@pytest.mark.parametrize("kind", [kind for kind in ORDINARY if "GIF" not in kind and "orientation" not in kind])
def test_the_header_of_every_ordinary_kind_declares_its_pixels(kind):
    data = ORDINARY[kind]()
    pixels = decode_image(data).pixels
    said = declared(data)
    said.check(pixels)
    assert said.size == (64, 48)
    assert (said.bits > 8) == (pixels.dtype == np.uint16)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((64, 48, 3), np.uint8),
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 3), np.uint16),
        np.zeros((48, 63, 3), np.uint8),
    ],
    ids=["turned", "grey", "deep", "narrower"],
)
def test_other_pixels_than_declared_are_refused(pixels):
    with pytest.raises(ImageError, match=r"64x48.* 3 ") as refused:
        Declared(64, 48, 3, 8).check(pixels)
    assert refused.value.code == "unsupported_image"
    Declared(64, 48, 3, 8).check(np.zeros((48, 64, 3), np.uint8))


def test_a_decoder_that_gives_something_else_is_found_out(monkeypatch):
    data = coloured("JPEG")
    monkeypatch.setattr(images, "_stored_pixels", lambda image: np.asarray(image.convert("L")))
    with pytest.raises(ImageError, match="header declares"):
        decode_image(data)


def test_a_second_decoder_that_reads_another_picture_is_found_out(monkeypatch):
    deep = noise(3, dtype=np.uint16)
    data = cv2.imencode(".png", deep)[1].tobytes()
    assert decode_image(data).pixels.dtype == np.uint16
    monkeypatch.setattr(images, "_decode_by_opencv", lambda _: deep[::-1].copy())
    with pytest.raises(ImageError, match="two libraries read"):
        decode_image(data)


def jpeg(*, marker: int = 0xC0, bits: int = 8, components: int = 3) -> bytes:
    data = bytearray(coloured("JPEG"))
    place = data.index(b"\xff\xc0")
    data[place + 1], data[place + 4], data[place + 9] = marker, bits, components
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (jpeg(bits=12), "JPEG of 12 bits"),
        (jpeg(marker=0xC3), "lossless JPEG"),
        (jpeg(marker=0xF7), "JPEG-LS"),
        (jpeg(components=2), "JPEG of 2 components"),
        (b"\0\0\0\x18ftypheic" + bytes(80), "HEIC"),
        (b"\0\0\0\x18ftypavif" + bytes(80), "AVIF"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(80), "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(80), "JPEG 2000"),
        (b"II\xbc\x01" + bytes(80), "JPEG XR"),
        (b"8BPS" + bytes(80), "a Photoshop document"),
        (bytes(128) + b"DICM" + bytes(80), "DICOM"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\x04CgBI" + bytes(80), "CgBI"),
    ],
)
def test_an_image_of_a_kind_that_is_not_read_is_named(data, kind):
    with pytest.raises(ImageError, match=kind.replace("(", r"\(")) as refused:
        decode_image(data)
    assert refused.value.code == "unsupported_image"


def test_kinds_that_are_read_and_what_is_no_image_have_no_other_kind():
    assert all(other_kind(build()) is None for build in ORDINARY.values())
    assert other_kind(b"These are my holiday photos.") is None


def test_a_bmp_of_a_kind_that_pillow_knows_and_does_not_read_is_unsupported():
    data = bytearray(coloured("BMP"))
    data[30:34] = struct.pack("<I", 4)  # a JPEG in a BMP
    with pytest.raises(ImageError, match="BMP") as refused:
        decode_image(bytes(data))
    assert refused.value.code == "unsupported_image"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_a_file_that_ends_early_is_told_from_a_damaged_one(kind):
    image = Image.fromarray(noise(3))
    data = saved(image.convert("P") if kind == "GIF" else image, kind)
    assert not ends_early(data)
    assert all(ends_early(data[: int(share * len(data))]) for share in (0.1, 0.5, 0.9))


def test_damage_in_the_middle_of_a_whole_png_is_damage():
    data = bytearray(coloured("PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(ImageError) as refused:
        decode_image(bytes(data))
    assert refused.value.code == "damaged_image"


def test_a_png_whose_pixels_end_early_is_damaged_if_the_file_does_not():
    with pytest.raises(ImageError) as refused:
        decode_image(png(64, 48, bytes(65 * 20)))
    assert refused.value.code == "damaged_image"
