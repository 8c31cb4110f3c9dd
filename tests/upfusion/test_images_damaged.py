"""What is empty, cut, damaged or no image, and what a file is, whatever its name says."""

import numpy as np
import pytest
from PIL import Image

from tests.image_files import saved
from tests.upfusion.image_bytes import file_of, image_error, noise
from upfusion.images import ImageError, decode_image, format_of, image_size, is_named_as


def test_an_empty_file() -> None:
    for reader in (decode_image, image_size):
        with image_error("empty_file"):
            reader(b"")


def test_a_text_is_not_an_image() -> None:
    for reader in (decode_image, image_size):
        with image_error("not_an_image"):
            reader(b"These are my holiday photos.\n" * 10)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
@pytest.mark.parametrize(
    "kind", ["png", "png 16-bit color", "jpeg", "webp", "bmp", "tiff", "tiff lzw", "tiff 16-bit color"]
)
def test_a_truncated_file(kind: str, share: float) -> None:
    data = file_of(kind)
    decode_image(data)
    with image_error("truncated_image"):
        decode_image(data[: int(share * len(data))])


@pytest.mark.parametrize("kind", ["png", "png 16-bit color", "jpeg", "webp", "bmp", "tiff", "tiff 16-bit color"])
def test_no_damage_leads_to_another_error(kind: str) -> None:
    data = file_of(kind)
    random = np.random.default_rng(0)
    failures = 0
    for _ in range(60):
        damaged = bytearray(data)
        for place in random.integers(0, [40, 400, len(data)]):
            damaged[place] = random.integers(0, 256)
        for reader in (decode_image, image_size):
            try:
                reader(bytes(damaged))
            except ImageError:
                failures += 1
    assert failures > 10


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_the_bytes_say_what_an_image_is(kind: str) -> None:
    assert format_of(saved(Image.fromarray(noise((24, 32, 3))), kind)) == kind


@pytest.mark.parametrize("data", [b"", b"no image", b"\x89PNG\r\n\x1a\n"], ids=["empty", "text", "cut"])
def test_what_is_no_image_has_no_format_and_its_name_is_not_judged(data: bytes) -> None:
    assert format_of(data) is None
    assert is_named_as(data, "1.png")


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("PNG", "1.png", True),
        ("PNG", "s3://bucket/night 1/1.PNG", True),
        ("JPEG", "1.jpg", True),
        ("JPEG", "1.jpeg", True),
        ("TIFF", "1.tif", True),
        ("JPEG", "1.png", False),
        ("PNG", "1.jpg", False),
        ("PNG", "day.png/1.bmp", False),
        ("JPEG", "1.unknown", True),
        ("JPEG", "1", True),
    ],
)
def test_a_suffix_stands_for_the_bytes_or_for_others(kind: str, name: str, expected: bool) -> None:
    assert is_named_as(saved(Image.fromarray(noise((24, 32, 3))), kind), name) is expected
