"""TIFFs of sensor values that have no grey scale of their own: floats, signed and 32-bit integers.

They are decoded by OpenCV bit for bit, after a check of what the header declares; Pillow opens no 64-bit floats and
reads compressed big-endian integers wrongly (measured: up to 52,276 off).
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from upfusion.cameras.ifd import Directory, read_directories
from upfusion.cameras.ranges import Values
from upfusion.image_guard import MAX_PIXELS, ImageError

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES = 256, 257, 258, 259, 262, 274, 277
_TILE_WIDTH, _TILE_LENGTH, _SAMPLE_FORMAT, _NO_DATA = 322, 323, 339, 42113
_TYPES: dict[tuple[int, int], Any] = {
    (3, 32): np.float32,
    (3, 64): np.float64,
    (2, 16): np.int16,
    (2, 32): np.int32,
    (1, 32): np.uint32,
}
"""What is read, by sample format (1 unsigned, 2 signed, 3 float) and bits."""


def is_value_tiff(data: bytes) -> bool:
    """Tell whether a file is a TIFF of one channel of floats, signed or 32-bit integers."""
    return data[:2] in (b"II", b"MM") and _type_of(read_directories(data)[0]) is not None


def decode_values(data: bytes, max_pixels: int = MAX_PIXELS) -> Values:
    """Decode such a TIFF to an array `(H, W)` of its own type, upright; floats that mean "no data" become NaN.

    Raises ImageError (`truncated_image`, `unsupported_image`, `too_large`) and nothing else.
    """
    tags = read_directories(data)[0]
    dtype = _type_of(tags)
    if dtype is None:
        raise ImageError("unsupported_image", "not a TIFF of one channel of floats, signed or 32-bit integers")
    width, height = _number(tags, _WIDTH), _number(tags, _LENGTH)
    # A tile is decoded whole, however little of it the image has; a strip has no more rows than the image.
    tile = _number(tags, _TILE_WIDTH, 1) * _number(tags, _TILE_LENGTH, 1)
    if max(width * height, tile) > max_pixels:
        raise ImageError("too_large", f"the image is too large: {width}x{height}, more than {max_pixels} pixels")
    if not _is_complete(tags, len(data)):
        raise ImageError("truncated_image", "the TIFF ends before its pixels do")
    values = _decode(data)
    orientation = _number(tags, _ORIENTATION, 1)
    declared = (width, height) if orientation in (5, 6, 7, 8) else (height, width)
    if values is None or values.size == 0:
        raise ImageError("truncated_image", "the TIFF is damaged, incomplete or compressed in a way that is not known")
    if values.shape != declared or values.dtype != dtype:
        raise ImageError(
            "unsupported_image",
            f"decoded as {values.shape} {values.dtype}, but the header declares {declared} {np.dtype(dtype)}",
        )
    return _without_no_data(values, tags)


def _type_of(tags: Directory) -> Any:
    if _number(tags, _SAMPLES, 1) != 1 or _number(tags, _PHOTOMETRIC, 1) != 1:
        return None
    return _TYPES.get((_number(tags, _SAMPLE_FORMAT, 1), _number(tags, _BITS, 1)))


def _number(tags: Directory, tag: int, missing: int = 0) -> int:
    values = tags[tag].numbers() if tag in tags else ()
    return int(values[0]) if values else missing


def _is_complete(tags: Directory, size: int) -> bool:
    """Tell whether all strips or tiles lie inside the file; OpenCV returns zeros for those that do not."""
    offsets, lengths = (
        next((tags[tag].numbers() for tag in kinds if tag in tags), ()) for kinds in ((273, 324), (279, 325))
    )
    return bool(offsets) and len(offsets) == len(lengths) and max(map(sum, zip(offsets, lengths, strict=True))) <= size


def _decode(data: bytes) -> NDArray[Any] | None:
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)


def _without_no_data(values: Values, tags: Directory) -> Values:
    """Replace GDAL's "no data" value, and what floats use instead of infinity, by NaN."""
    if values.dtype.kind != "f":
        return values
    values = np.where(np.isfinite(values), values, np.nan).astype(values.dtype)
    try:
        missing = float(tags[_NO_DATA].text()) if _NO_DATA in tags else np.nan
    except ValueError:
        return values
    return np.where(values == values.dtype.type(missing), np.nan, values).astype(values.dtype)
