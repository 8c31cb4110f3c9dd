"""Reading and writing: every kind of pixels, and there and back."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.image_files import png, saved
from tests.upfusion.image_bytes import deep, grey_tiff, image_error, noise, smooth
from upfusion.images import FORMATS, ImageFormat, decode_image, encode_image, read_image, to_8_bits


def test_rgb() -> None:
    pixels = noise((5, 7, 3))
    decoded = decode_image(saved(Image.fromarray(pixels), "PNG"))
    np.testing.assert_array_equal(decoded.pixels, pixels)
    assert not decoded.alpha_dropped


def test_grey() -> None:
    pixels = noise((5, 7))
    np.testing.assert_array_equal(decode_image(saved(Image.fromarray(pixels), "PNG")).pixels, pixels)


def test_black_and_white() -> None:
    pixels = noise((5, 7)) > 127
    decoded = decode_image(saved(Image.fromarray(pixels), "PNG")).pixels
    np.testing.assert_array_equal(decoded, pixels * np.uint8(255))
    assert decoded.dtype == np.uint8


def test_grey_with_alpha() -> None:
    pixels = noise((5, 7, 2))
    decoded = decode_image(saved(Image.fromarray(pixels, "LA"), "PNG"))
    np.testing.assert_array_equal(decoded.pixels, pixels[..., 0])
    assert decoded.alpha_dropped


def test_rgb_with_alpha() -> None:
    pixels = noise((5, 7, 4))
    decoded = decode_image(saved(Image.fromarray(pixels), "PNG"))
    np.testing.assert_array_equal(decoded.pixels, pixels[..., :3])
    assert decoded.alpha_dropped


@pytest.mark.parametrize("transparent", [None, 3, bytes([0, 128, 255, 7, 9])], ids=["opaque", "one", "each"])
def test_palette(transparent: int | bytes | None) -> None:
    colors = noise((16, 3))
    places = np.random.default_rng(1).integers(0, 16, (5, 7), np.uint8)
    image = Image.fromarray(places, "P")
    image.putpalette(colors.tobytes())
    options = {} if transparent is None else {"transparency": transparent}
    decoded = decode_image(saved(image, "PNG", **options))
    np.testing.assert_array_equal(decoded.pixels, colors[places])
    assert decoded.alpha_dropped == (transparent is not None)


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_cmyk(image_format: str) -> None:
    flat = Image.new("RGB", (16, 16), (200, 100, 50))
    decoded = decode_image(saved(flat.convert("CMYK"), image_format)).pixels
    np.testing.assert_allclose(decoded, np.full((16, 16, 3), (200, 100, 50)), atol=4)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_16_bit_grey(image_format: str) -> None:
    pixels = noise((5, 7), np.uint16)
    decoded = decode_image(saved(Image.fromarray(pixels), image_format)).pixels
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize(("order", "zero_is_white"), [("<", False), ("<", True), (">", False)])
def test_16_bit_grey_tiff_of_either_kind(order: str, zero_is_white: bool) -> None:
    pixels = noise((5, 7), np.uint16)
    decoded = decode_image(grey_tiff(pixels, order, zero_is_white)).pixels
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, 65535 - pixels if zero_is_white else pixels)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_color(suffix: str, channels: int) -> None:
    pixels = noise((5, 7, channels), np.uint16)
    decoded = decode_image(deep(pixels, suffix))
    assert decoded.pixels.dtype == np.uint16
    np.testing.assert_array_equal(decoded.pixels, pixels[..., :3])
    assert decoded.alpha_dropped == (channels == 4)


def test_16_bit_grey_with_alpha() -> None:
    pixels = noise((5, 7, 2), np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    decoded = decode_image(png(7, 5, rows, bit_depth=16, color_type=4))
    np.testing.assert_array_equal(decoded.pixels, pixels[..., 0])
    assert decoded.alpha_dropped


@pytest.mark.parametrize(("mode", "kind"), [("F", "floats"), ("I", "signed integers")])
def test_pixels_without_a_range_are_refused(mode: str, kind: str) -> None:
    data = saved(Image.new(mode, (5, 7)), "TIFF")
    with image_error("unsupported_image", kind):
        decode_image(data)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(23, 31), (23, 31, 3)], ids=["grey", "color"])
def test_png_is_lossless(shape: tuple[int, ...], dtype: Any) -> None:
    pixels = noise(shape, dtype)
    decoded = decode_image(encode_image(pixels, "png")).pixels
    assert decoded.dtype == dtype
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("color", [True, False], ids=["color", "grey"])
@pytest.mark.parametrize("image_format", ["jpeg", "webp"])
def test_lossy_formats_are_close(image_format: ImageFormat, color: bool, dtype: Any) -> None:
    pixels = smooth(color)
    scale = np.iinfo(dtype).max // 255
    decoded = decode_image(encode_image(pixels.astype(dtype) * dtype(scale), image_format)).pixels
    assert decoded.dtype == np.uint8
    # WebP has no grey: it comes back as three equal channels.
    expected = pixels if decoded.ndim == pixels.ndim else np.stack([pixels] * 3, axis=-1)
    assert np.abs(decoded.astype(int) - expected).mean() < 2


def test_jpeg_keeps_the_resolution_of_color() -> None:
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = (200, 60, 60)
    stripes[:, 1::2] = (60, 60, 200)
    decoded = decode_image(encode_image(stripes, "jpeg")).pixels
    assert np.abs(decoded.astype(int) - stripes).mean() < 8


@pytest.mark.parametrize("image_format", FORMATS)
def test_files_are_of_the_format_that_was_asked_for(image_format: ImageFormat) -> None:
    with Image.open(io.BytesIO(encode_image(smooth(color=True), image_format))) as image:
        assert image.format == image_format.upper()


def test_16_bits_are_rounded_to_8() -> None:
    pixels = np.array([[0, 128, 129, 257, 65535, 65407, 65406]], np.uint16)
    assert to_8_bits(pixels).tolist() == [[0, 0, 1, 1, 255, 255, 254]]
    eight = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_8_bits(eight.astype(np.uint16) * 257), eight)
    assert to_8_bits(eight) is eight


def test_reading_a_file(tmp_path: Any) -> None:
    pixels = noise((5, 7, 3))
    path = tmp_path / "image.png"
    path.write_bytes(encode_image(pixels, "png"))
    np.testing.assert_array_equal(read_image(path), pixels)
    np.testing.assert_array_equal(read_image(str(path)), pixels)
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "missing.png")
