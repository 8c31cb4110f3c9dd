"""Image files to arrays and back, without losing size, colour, depth or orientation.

Pillow reads all but TIFF, whose samples are read by their header (tiff_pixels.py), and 16-bit colour of PNG, which it
would silently cut to 8 bits: OpenCV reads that, and it writes all but PNG (png_encoder.py). Whatever decoded an image,
its pixels are checked against what the file's header declares (declared.py).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from upfusion.color import Pixels
from upfusion.declared import declared, declared_by_tiff, webp_size
from upfusion.file_names import SUFFIXES
from upfusion.image_errors import ImageError, unsupported
from upfusion.image_formats import FORMATS, ImageFormat
from upfusion.image_guard import MAX_PIXELS, as_image_errors, check_kind, check_size, count_frames, open_image
from upfusion.image_metadata import orientation_of, without_metadata
from upfusion.png_data import check_png_data
from upfusion.png_encoder import encode_png
from upfusion.tiff_header import BITS, PHOTOMETRIC, WHITE_IS_ZERO, count_pages, is_tiff, read_tiff_header
from upfusion.tiff_pixels import is_read_by_pillow, is_read_here, read_tiff_pixels

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "SUFFIXES",
    "DecodedImage",
    "ImageError",
    "ImageFormat",
    "decode_image",
    "encode_image",
    "format_of",
    "image_size",
    "is_named_as",
    "read_image",
    "to_8_bits",
    "to_array",
]

_OPENCV_OPTIONS: dict[ImageFormat, tuple[int, ...]] = {
    "jpeg": (
        *(cv2.IMWRITE_JPEG_QUALITY, 95),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ),
    "webp": (cv2.IMWRITE_WEBP_QUALITY, 95),
    "tiff": (
        *(cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_ADOBE_DEFLATE),
        *(cv2.IMWRITE_TIFF_PREDICTOR, cv2.IMWRITE_TIFF_PREDICTOR_HORIZONTAL),
    ),
}
_LONGEST_SIDE: dict[ImageFormat, int] = {"jpeg": 65500, "webp": 16383}


@dataclass(frozen=True)
class DecodedImage:
    """An image as an array, and what had to be left out of it."""

    pixels: Pixels
    """`(H, W)` grey or `(H, W, 3)` RGB, uint8 or uint16."""
    alpha_dropped: bool = False
    frames: int | None = 1
    """Frames or pages of the file, of which `pixels` is the first; None for several that were not counted."""


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """Decode an image file's bytes; EXIF orientation is applied, palettes and CMYK become RGB, alpha is dropped.

    Pixels are taken as stored: an embedded colour profile is not applied. Of several frames the first counts.
    At most 24 bytes a pixel, the size of `data` twice and 64 MB are used. Raises ImageError and nothing else, whatever
    the bytes are (`empty_file`, `not_an_image`, `truncated_image` where the file ends early,
    `damaged_image`, `unsupported_image`, `too_large`).
    """
    check_kind(data)
    if is_tiff(data):
        with as_image_errors(data):
            return _decode_tiff(data, max_pixels)
    try:
        return _decode(data, max_pixels)
    except ImageError as error:
        bare = without_metadata(data) if error.code == "damaged_image" else None
        if bare is None:
            raise
        try:
            return _decode(bare, max_pixels)
        except ImageError:
            raise error from None


def image_size(head: bytes) -> tuple[int, int]:
    """Return (width, height) as displayed from the first kilobytes of an image file.

    An orientation that lies behind the pixels (WebP's) counts only where `head` reaches that far. Raises
    ImageError like `decode_image`.
    """
    check_kind(head)
    if is_tiff(head):
        size = read_tiff_header(head).size
        check_size(size, MAX_PIXELS)
        return size
    try:
        with open_image(head) as image:
            # PNG's own getexif reads the whole file when it finds no orientation before the pixels.
            turned = orientation_of(image, loads=False) in (5, 6, 7, 8)
            return image.size[::-1] if turned else image.size
    except ImageError as error:
        found = webp_size(head)
        if found is None or 0 in found or error.code == "too_large":
            raise
        return found


def format_of(data: bytes) -> str | None:
    """Say what an image file's bytes are ("JPEG", "PNG", ...), whatever its name says; None for no image."""
    try:
        if is_tiff(data):
            read_tiff_header(data)
            return "TIFF"
        with open_image(data) as image:
            # A JPEG that other pictures lie behind.
            return "JPEG" if image.format == "MPO" else image.format
    except ImageError:
        return None


def is_named_as(data: bytes, name: str) -> bool:
    """Tell whether a file's suffix stands for what its bytes are."""
    found = format_of(data)
    return found is None or Image.registered_extensions().get(Path(name).suffix.lower(), found) == found


def read_image(path: str | Path) -> Pixels:
    """Read an image file of this machine; raises ImageError or OSError."""
    return decode_image(Path(path).read_bytes()).pixels


def encode_image(pixels: Pixels, image_format: ImageFormat) -> bytes:
    """Encode an array; `png` and `tiff` keep every bit, `jpeg` (4:4:4) and `webp` have 8 bits and quality 95.

    Raises ImageError (`write_failed`) when the format cannot hold an image of this size.
    """
    height, width = pixels.shape[:2]
    longest = _LONGEST_SIDE.get(image_format)
    if longest is not None and max(height, width) > longest:
        raise ImageError(
            "write_failed", f"{width}x{height} pixels, and {image_format} holds at most {longest} per side; choose png"
        )
    if image_format == "png":
        return encode_png(pixels)
    kept = pixels if image_format == "tiff" else to_8_bits(pixels)
    # A view with the channels turned takes longer than their copy.
    turned = kept if kept.ndim == 2 else cv2.cvtColor(kept, cv2.COLOR_RGB2BGR)
    whole, data = cv2.imencode(FORMATS[image_format], turned, _OPENCV_OPTIONS.get(image_format, ()))
    if not whole:
        raise ImageError("write_failed", f"{width}x{height} pixels could not be written as {image_format}")
    return bytes(data)


def to_8_bits(pixels: Pixels) -> Pixels:
    """Reduce an array to 8 bits by rounding; an 8-bit array is returned as it is."""
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def to_array(image: Image.Image) -> Pixels:
    """Return the pixels of a Pillow image as `decode_image` does: upright, RGB or grey, alpha dropped.

    Raises ImageError (`unsupported_image`).
    """
    image.load()
    return upright(_stored_pixels(image), orientation_of(image))


def _decode(data: bytes, max_pixels: int) -> DecodedImage:
    with open_image(data, max_pixels) as image:
        frames = count_frames(image)
        image.load()
        alpha_dropped = image.has_transparency_data
        orientation = orientation_of(image)
        pixels = _decode_deep_png(data, image) if _is_deep_png(data) else _stored_pixels(image)
        if image.format == "PNG":
            check_png_data(data, pixels)
        pixels = upright(pixels, orientation)
        declared(data, orientation).check(pixels)
        return DecodedImage(pixels, alpha_dropped, frames)


def _decode_tiff(data: bytes, max_pixels: int) -> DecodedImage:
    header = read_tiff_header(data)
    check_size((header.width, header.height), max_pixels)
    if is_read_here(header):
        pixels = upright(read_tiff_pixels(data, header, max_pixels), header.orientation)
    elif is_read_by_pillow(header):
        check_size(header.segment, max_pixels)  # a tile is decoded whole, however little of it is the image's
        with open_image(data, max_pixels) as image:
            pixels = to_array(image)
    else:
        raise unsupported(header.kind())
    declared_by_tiff(header).check(pixels)
    return DecodedImage(pixels, any(kind in (1, 2, 999) for kind in header.extra), count_pages(data))


def _stored_pixels(image: Image.Image) -> Pixels:
    if image.mode in ("L", "RGB"):
        return np.asarray(image)
    if image.mode in ("1", "LA", "La"):
        return np.asarray(image.convert("L"))
    if image.mode in ("I;16", "I;16L", "I;16B"):
        return _sixteen_bits(image)
    if image.mode in ("RGBA", "RGBX", "CMYK", "YCbCr", "HSV"):
        return np.asarray(image.convert("RGB"))
    if image.mode in ("P", "PA", "RGBa"):
        # Pillow warns of a palette with transparency that becomes RGB at once.
        return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))[..., :3]
    raise ImageError(
        "unsupported_image",
        f"pixels of type {image.mode!r} have no known range; convert the image to 8 or 16 bits per channel",
    )


def _sixteen_bits(image: Image.Image) -> Pixels:
    """Return the pixels of a Pillow image of 16 bits, which may be an opened TIFF whose tags Pillow passes over."""
    pixels = np.asarray(image).astype(np.uint16)
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    if tags.get(BITS) == (12,):
        pixels = ((pixels.astype(np.uint32) * 65535 + 2047) // 4095).astype(np.uint16)
    return 65535 - pixels if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else pixels


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn and mirror pixels as an EXIF orientation (1 to 8) says; others leave them."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels if pixels.flags.c_contiguous else pixels.copy()


def _is_deep_png(data: bytes) -> bool:
    """Tell whether the file is a PNG of 16 bits per channel in several channels."""
    bit_depth, color_type = data[24:26] if data.startswith(b"\x89PNG") else (8, 0)
    return bit_depth == 16 and color_type in (2, 4, 6)


def _decode_deep_png(data: bytes, image: Image.Image) -> Pixels:
    """Decode 16-bit colour with OpenCV, after Pillow, which notices damage that OpenCV passes over.

    The upper 8 bits have to be those that Pillow read.
    """
    upper = np.asarray(image)  # the samples of a pixel, cut to 8 bits
    image.close()
    pixels = _decode_by_opencv(data)
    if pixels is None or pixels.dtype != np.uint16:
        raise ImageError("unsupported_image", "the image's 16-bit colour could not be decoded")
    # OpenCV's order is blue, green, red. It has no deep grey with alpha: it repeats the grey.
    colors = 1 if data[25] == 4 else 3
    kept = np.ascontiguousarray(pixels[..., colors - 1 :: -1] if colors == 3 else pixels[..., :1])
    if kept.shape[:2] != upper.shape[:2] or not _agree(kept, upper[..., :colors]):
        raise ImageError("unsupported_image", "two libraries read the image's 16-bit colour differently")
    return kept if colors == 3 else kept[..., 0]


def _agree(deep: NDArray[np.uint16], upper: NDArray[np.uint8]) -> bool:
    rows = 256
    return all(
        np.array_equal((deep[at : at + rows] >> 8).astype(np.uint8), upper[at : at + rows])
        for at in range(0, len(deep), rows)
    )


def _decode_by_opencv(data: bytes) -> Any:
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    finally:
        cv2.utils.logging.setLogLevel(level)
