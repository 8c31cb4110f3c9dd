"""Image files to arrays and back, without losing size, colour, depth or orientation.

Pillow reads and writes everything but 16-bit colour, which it would silently cut to 8 bits; OpenCV does that.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from upfusion.color import Pixels

ImageFormat = Literal["png", "jpeg", "webp"]
FORMATS: dict[ImageFormat, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
"""Formats that fused images are written in, with their file suffix; jpeg and webp hold 8 bits a channel."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
"""File suffixes that count as images in an archive, in lower case."""

LOSSY_QUALITY = 95


class ImageError(ValueError):
    """A file that cannot be used as a source image, with a short code for tables and a sentence for people."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class DecodedImage:
    """An image as an array, and what had to be left out of it."""

    pixels: Pixels
    """`(H, W)` grey or `(H, W, 3)` RGB, uint8 or uint16."""
    alpha_dropped: bool = False


def decode_image(data: bytes) -> DecodedImage:
    """Decode an image file's bytes; EXIF orientation is applied, palettes and CMYK become RGB, alpha is dropped.

    Raises ImageError (`empty_file`, `not_an_image`, `truncated_image`, `unsupported_image`, `too_large`).
    """
    if not data:
        raise ImageError("empty_file", "the file is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
            if _is_deep_color(data, opened):
                return _decode_deep_color(data, opened)
            image = ImageOps.exif_transpose(opened)
            return DecodedImage(_to_array(image), alpha_dropped=image.has_transparency_data)
    except UnidentifiedImageError as error:
        raise ImageError("not_an_image", "the file is not an image in a format that can be read") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError("too_large", f"the image is too large: {error}") from error
    except ImageError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError("truncated_image", f"the image is damaged or incomplete ({error})") from error


def image_size(head: bytes) -> tuple[int, int]:
    """Return (width, height) as displayed from the first kilobytes of an image file.

    Raises ImageError (`empty_file`, `not_an_image`).
    """
    if not head:
        raise ImageError("empty_file", "the file is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(head)) as image:
            turned = image.getexif().get(0x0112, 1) >= 5
            return image.size[::-1] if turned else image.size
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError("not_an_image", "the file is not an image in a format that can be read") from error


def read_image(path: str | Path) -> Pixels:
    """Read an image file of this machine; raises ImageError or OSError."""
    return decode_image(Path(path).read_bytes()).pixels


def encode_image(pixels: Pixels, image_format: ImageFormat) -> bytes:
    """Encode an array; `png` keeps every bit, `jpeg` (4:4:4) and `webp` are written at quality 95 with 8 bits."""
    if image_format == "png" and pixels.dtype == np.uint16 and pixels.ndim == 3:
        return bytes(cv2.imencode(".png", pixels[..., ::-1])[1])
    if image_format != "png" and pixels.dtype == np.uint16:
        pixels = to_8_bits(pixels)
    buffer = io.BytesIO()
    # Level 1 is four times faster than the default and files grow by about a twentieth.
    options = {"compress_level": 1} if image_format == "png" else {"quality": LOSSY_QUALITY}
    if image_format == "jpeg":
        options["subsampling"] = 0
    Image.fromarray(pixels).save(buffer, format=image_format, **options)
    return buffer.getvalue()


def to_8_bits(pixels: Pixels) -> Pixels:
    """Reduce an array to 8 bits by rounding; an 8-bit array is returned as it is."""
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _to_array(image: Image.Image) -> Pixels:
    if image.mode in ("L", "RGB", "I;16"):
        return np.asarray(image)
    if image.mode in ("1", "LA", "La"):
        return np.asarray(image.convert("L"))
    if image.mode == "I;16B":
        return np.asarray(image).astype(np.uint16)
    if image.mode in ("P", "PA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"):
        return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))[..., :3]
    raise ImageError(
        "unsupported_image",
        f"pixels of type {image.mode!r} have no known range; convert the image to 8 or 16 bits a channel",
    )


def _is_deep_color(data: bytes, image: Image.Image) -> bool:
    """Tell whether the file holds 16 bits a channel in several channels."""
    if image.format == "PNG":
        bit_depth, color_type = data[24], data[25]
        return bit_depth == 16 and color_type in (2, 4, 6)
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, ())  # type: ignore[attr-defined]
        return isinstance(bits, tuple) and len(bits) > 1 and max(bits) == 16
    return False


def _decode_deep_color(data: bytes, image: Image.Image) -> DecodedImage:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None or pixels.dtype != np.uint16:
        raise ImageError("unsupported_image", "the image's 16-bit colour could not be decoded")
    alpha = image.mode in ("LA", "RGBA")
    # OpenCV's order is blue, green, red; it has no grey with alpha and repeats the grey three times.
    kept = pixels[..., 0] if image.mode == "LA" else pixels[..., 2::-1]
    return DecodedImage(np.ascontiguousarray(kept, dtype=np.uint16), alpha_dropped=alpha)
