import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from upfusion.color import Pixels
from upfusion.images import (
    FORMATS,
    ImageError,
    ImageFormat,
    decode_image,
    encode_image,
    format_of,
    image_size,
    is_named_as,
    read_image,
    to_8_bits,
    to_array,
)

HEAD = 1 << 16
"""What the fuse job reads of a file to learn its size."""


# Kinds of pixels


def test_rgb() -> None:
    pixels = _noise((5, 7, 3))
    decoded = decode_image(_saved(Image.fromarray(pixels), "PNG"))
    np.testing.assert_array_equal(decoded.pixels, pixels)
    assert not decoded.alpha_dropped


def test_grey() -> None:
    pixels = _noise((5, 7))
    np.testing.assert_array_equal(decode_image(_saved(Image.fromarray(pixels), "PNG")).pixels, pixels)


def test_black_and_white() -> None:
    pixels = _noise((5, 7)) > 127
    decoded = decode_image(_saved(Image.fromarray(pixels), "PNG")).pixels
    np.testing.assert_array_equal(decoded, pixels * np.uint8(255))
    assert decoded.dtype == np.uint8


def test_grey_with_alpha() -> None:
    pixels = _noise((5, 7, 2))
    decoded = decode_image(_saved(Image.fromarray(pixels, "LA"), "PNG"))
    np.testing.assert_array_equal(decoded.pixels, pixels[..., 0])
    assert decoded.alpha_dropped


def test_rgb_with_alpha() -> None:
    pixels = _noise((5, 7, 4))
    decoded = decode_image(_saved(Image.fromarray(pixels), "PNG"))
    np.testing.assert_array_equal(decoded.pixels, pixels[..., :3])
    assert decoded.alpha_dropped


@pytest.mark.parametrize("transparent", [None, 3, bytes([0, 128, 255, 7, 9])], ids=["opaque", "one", "each"])
def test_palette(transparent: int | bytes | None) -> None:
    colors = _noise((16, 3))
    places = np.random.default_rng(1).integers(0, 16, (5, 7), np.uint8)
    image = Image.fromarray(places, "P")
    image.putpalette(colors.tobytes())
    options = {} if transparent is None else {"transparency": transparent}
    decoded = decode_image(_saved(image, "PNG", **options))
    np.testing.assert_array_equal(decoded.pixels, colors[places])
    assert decoded.alpha_dropped == (transparent is not None)


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_cmyk(image_format: str) -> None:
    flat = Image.new("RGB", (16, 16), (200, 100, 50))
    decoded = decode_image(_saved(flat.convert("CMYK"), image_format)).pixels
    np.testing.assert_allclose(decoded, np.full((16, 16, 3), (200, 100, 50)), atol=4)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_16_bit_grey(image_format: str) -> None:
    pixels = _noise((5, 7), np.uint16)
    decoded = decode_image(_saved(Image.fromarray(pixels), image_format)).pixels
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize(("order", "zero_is_white"), [("<", False), ("<", True), (">", False)])
def test_16_bit_grey_tiff_of_either_kind(order: str, zero_is_white: bool) -> None:
    pixels = _noise((5, 7), np.uint16)
    decoded = decode_image(_grey_tiff(pixels, order, zero_is_white)).pixels
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, 65535 - pixels if zero_is_white else pixels)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_color(suffix: str, channels: int) -> None:
    pixels = _noise((5, 7, channels), np.uint16)
    decoded = decode_image(_deep(pixels, suffix))
    assert decoded.pixels.dtype == np.uint16
    np.testing.assert_array_equal(decoded.pixels, pixels[..., :3])
    assert decoded.alpha_dropped == (channels == 4)


def test_16_bit_grey_with_alpha() -> None:
    pixels = _noise((5, 7, 2), np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    decoded = decode_image(_png(7, 5, rows, bit_depth=16, color_type=4))
    np.testing.assert_array_equal(decoded.pixels, pixels[..., 0])
    assert decoded.alpha_dropped


@pytest.mark.parametrize(("mode", "kind"), [("F", "floats"), ("I", "signed integers")])
def test_pixels_without_a_range_are_refused(mode: str, kind: str) -> None:
    data = _saved(Image.new(mode, (5, 7)), "TIFF")
    with _error("unsupported_image", kind):
        decode_image(data)


# Orientation


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, image_format: str) -> None:
    options: dict[str, Any] = {"lossless": True} if image_format == "WEBP" else {}
    image = Image.fromarray(_noise((8, 24, 3)))
    data = _saved(image, image_format, exif=_exif(orientation), **options)
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
    pixels = _noise((8, 24, 3) if color else (8, 24), np.uint16)
    plain = _deep(pixels, ".png")
    data = plain[:33] + _chunk(b"eXIf", _exif(orientation).tobytes().removeprefix(b"Exif\0\0")) + plain[33:]
    # 8 x 24 places fit into the 8 bits of an image that Pillow turns.
    places = Image.fromarray(np.arange(8 * 24, dtype=np.uint8).reshape(8, 24))
    places.getexif()[ExifTags.Base.Orientation] = orientation
    expected = pixels.reshape(8 * 24, -1)[np.asarray(ImageOps.exif_transpose(places))].squeeze()
    np.testing.assert_array_equal(decode_image(data).pixels, expected)
    assert image_size(data) == expected.shape[1::-1]


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_does_not_exist_is_none(orientation: int) -> None:
    data = _saved(Image.fromarray(_noise((8, 24, 3))), "JPEG", exif=_exif(orientation))
    assert decode_image(data).pixels.shape == (8, 24, 3)
    assert image_size(data) == (24, 8)


def test_a_pillow_image_is_turned_and_reduced_like_a_file() -> None:
    data = _saved(Image.fromarray(_noise((8, 24, 4))), "PNG", exif=_exif(6))
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(to_array(image), decode_image(data).pixels)
    with pytest.raises(ImageError, match="no known range"):
        to_array(Image.new("F", (3, 3)))


# Damage


def test_an_empty_file() -> None:
    for reader in (decode_image, image_size):
        with _error("empty_file"):
            reader(b"")


def test_a_text_is_not_an_image() -> None:
    for reader in (decode_image, image_size):
        with _error("not_an_image"):
            reader(b"These are my holiday photos.\n" * 10)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
@pytest.mark.parametrize(
    "kind", ["png", "png 16-bit color", "jpeg", "webp", "bmp", "tiff", "tiff lzw", "tiff 16-bit color"]
)
def test_a_truncated_file(kind: str, share: float) -> None:
    data = _file(kind)
    decode_image(data)
    with _error("truncated_image"):
        decode_image(data[: int(share * len(data))])


@pytest.mark.parametrize("kind", ["png", "png 16-bit color", "jpeg", "webp", "bmp", "tiff", "tiff 16-bit color"])
def test_no_damage_leads_to_another_error(kind: str) -> None:
    data = _file(kind)
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


# Size


@pytest.mark.parametrize("side", [10_001, 30_000], ids=["more than ours", "more than Pillow's"])
def test_a_decompression_bomb_is_refused_unread(side: int) -> None:
    bomb = _png(side, side, b"", bit_depth=8, color_type=2)
    for reader in (decode_image, image_size):
        with _error("too_large", rf"({side}x{side}|{side * side} pixels)"):
            reader(bomb)


def test_the_limit_of_pixels_is_an_argument_and_no_ones_global() -> None:
    allowed, refused = (_saved(Image.new("L", (10, height)), "PNG") for height in (10, 11))
    assert decode_image(allowed, 100).pixels.shape == (10, 10)
    with _error("too_large", "10x11, more than 100 pixels"):
        decode_image(refused, 100)
    assert decode_image(refused).pixels.shape == (11, 10)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "BMP", "TIFF"])
def test_size_is_read_from_the_head(image_format: str) -> None:
    data = _saved(Image.fromarray(_noise((300, 400, 3))), image_format)
    assert len(data) > HEAD
    assert image_size(data[:HEAD]) == (400, 300)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "TIFF"])
def test_size_as_displayed_is_read_from_the_head(image_format: str) -> None:
    data = _saved(Image.fromarray(_noise((300, 400, 3))), image_format, exif=_exif(6))
    assert image_size(data[:HEAD]) == (300, 400)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0"}], ids=["VP8", "VP8L", "VP8X"])
def test_size_is_read_from_the_head_of_a_webp(options: dict[str, Any]) -> None:
    data = _saved(Image.fromarray(_noise((300, 400, 3))), "WEBP", **options)
    assert len(data) > HEAD
    assert image_size(data[:HEAD]) == (400, 300)


def test_a_webp_without_pixels_has_no_size() -> None:
    with _error("damaged_image"):
        image_size(b"RIFF\x16\0\0\0WEBPVP8 \x0a\0\0\0\x10\0\0\x9d\x01\x2a" + bytes(4))


@pytest.mark.parametrize(("image_format", "longest"), [("jpeg", 65500), ("webp", 16383)])
def test_what_a_format_cannot_hold_is_refused(image_format: ImageFormat, longest: int) -> None:
    assert image_size(encode_image(np.zeros((1, longest), np.uint8), image_format)) == (longest, 1)
    with _error("write_failed", f"{image_format} holds at most {longest}"):
        encode_image(np.zeros((1, longest + 1), np.uint8), image_format)


# There and back


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(23, 31), (23, 31, 3)], ids=["grey", "color"])
def test_png_is_lossless(shape: tuple[int, ...], dtype: Any) -> None:
    pixels = _noise(shape, dtype)
    decoded = decode_image(encode_image(pixels, "png")).pixels
    assert decoded.dtype == dtype
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("color", [True, False], ids=["color", "grey"])
@pytest.mark.parametrize("image_format", ["jpeg", "webp"])
def test_lossy_formats_are_close(image_format: ImageFormat, color: bool, dtype: Any) -> None:
    pixels = _smooth(color)
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
    with Image.open(io.BytesIO(encode_image(_smooth(color=True), image_format))) as image:
        assert image.format == image_format.upper()


def test_16_bits_are_rounded_to_8() -> None:
    pixels = np.array([[0, 128, 129, 257, 65535, 65407, 65406]], np.uint16)
    assert to_8_bits(pixels).tolist() == [[0, 0, 1, 1, 255, 255, 254]]
    eight = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_8_bits(eight.astype(np.uint16) * 257), eight)
    assert to_8_bits(eight) is eight


def test_reading_a_file(tmp_path: Any) -> None:
    pixels = _noise((5, 7, 3))
    path = tmp_path / "image.png"
    path.write_bytes(encode_image(pixels, "png"))
    np.testing.assert_array_equal(read_image(path), pixels)
    np.testing.assert_array_equal(read_image(str(path)), pixels)
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "missing.png")


# What a file is, whatever its name says


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_the_bytes_say_what_an_image_is(kind: str) -> None:
    assert format_of(_saved(Image.fromarray(_noise((24, 32, 3))), kind)) == kind


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
    assert is_named_as(_saved(Image.fromarray(_noise((24, 32, 3))), kind), name) is expected


def _error(code: str, sentence: str | None = None) -> pytest.RaisesExc[ImageError]:
    """Expect an ImageError of a code; `sentence` is a pattern."""
    return pytest.raises(ImageError, match=sentence, check=lambda error: error.code == code)


def _noise(shape: tuple[int, ...], dtype: Any = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def _smooth(color: bool) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[0:48, 0:64]
    grey = (3 * rows + columns).astype(np.uint8)
    return np.stack([grey, grey[::-1], grey[:, ::-1]], axis=-1) if color else grey


def _saved(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def _file(kind: str) -> bytes:
    if kind.endswith("16-bit color"):
        return _deep(_noise((24, 32, 3), np.uint16), f".{kind.split()[0]}")
    image_format, *compression = kind.split()
    options = {"compression": "tiff_lzw"} if compression else {}
    return _saved(Image.fromarray(_noise((24, 32, 3))), image_format, **options)


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def _deep(pixels: Pixels, suffix: str) -> bytes:
    """Encode 16 bits with OpenCV, whose order of channels is the other one."""
    order = {2: slice(None), 3: [2, 1, 0], 4: [2, 1, 0, 3]}
    channels = pixels.shape[2] if pixels.ndim == 3 else 2
    return cv2.imencode(suffix, pixels[..., order[channels]] if pixels.ndim == 3 else pixels)[1].tobytes()


def _png(width: int, height: int, rows: bytes, *, bit_depth: int, color_type: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _grey_tiff(pixels: NDArray[np.uint16], order: str, zero_is_white: bool) -> bytes:
    """Write an uncompressed TIFF of one strip, which Pillow does only little-endian and with black zeros."""
    height, width = pixels.shape
    photometric = 0 if zero_is_white else 1
    short = {256: width, 257: height, 258: 16, 259: 1, 262: photometric, 277: 1, 278: height, 279: 2 * pixels.size}
    tags = {**short, 273: 8 + 2 + 12 * (len(short) + 1) + 4}
    entries = b"".join(struct.pack(f"{order}HHIHH", tag, 3, 1, tags[tag], 0) for tag in sorted(tags))
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    return start + entries + bytes(4) + pixels.astype(f"{order}u2").tobytes()
