"""Images and files for the tests of reading them, beside those of tests/image_files.py."""

import struct
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.image_files import saved
from upfusion.color import Pixels
from upfusion.images import ImageError


def image_error(code: str, sentence: str | None = None) -> pytest.RaisesExc[ImageError]:
    """Expect an ImageError of a code; `sentence` is a pattern."""
    return pytest.raises(ImageError, match=sentence, check=lambda error: error.code == code)


def noise(shape: tuple[int, ...], dtype: Any = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def smooth(color: bool) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[0:48, 0:64]
    grey = (3 * rows + columns).astype(np.uint8)
    return np.stack([grey, grey[::-1], grey[:, ::-1]], axis=-1) if color else grey


def file_of(kind: str) -> bytes:
    if kind.endswith("16-bit color"):
        return deep(noise((24, 32, 3), np.uint16), f".{kind.split()[0]}")
    image_format, *compression = kind.split()
    options = {"compression": "tiff_lzw"} if compression else {}
    return saved(Image.fromarray(noise((24, 32, 3))), image_format, **options)


def deep(pixels: Pixels, suffix: str) -> bytes:
    """Encode 16 bits with OpenCV, whose order of channels is the other one."""
    order = {2: slice(None), 3: [2, 1, 0], 4: [2, 1, 0, 3]}
    channels = pixels.shape[2] if pixels.ndim == 3 else 2
    return cv2.imencode(suffix, pixels[..., order[channels]] if pixels.ndim == 3 else pixels)[1].tobytes()


def grey_tiff(pixels: NDArray[np.uint16], order: str, zero_is_white: bool) -> bytes:
    """Write an uncompressed TIFF of one strip, which Pillow does only little-endian and with black zeros."""
    height, width = pixels.shape
    photometric = 0 if zero_is_white else 1
    short = {256: width, 257: height, 258: 16, 259: 1, 262: photometric, 277: 1, 278: height, 279: 2 * pixels.size}
    tags = {**short, 273: 8 + 2 + 12 * (len(short) + 1) + 4}
    entries = b"".join(struct.pack(f"{order}HHIHH", tag, 3, 1, tags[tag], 0) for tag in sorted(tags))
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    return start + entries + bytes(4) + pixels.astype(f"{order}u2").tobytes()
