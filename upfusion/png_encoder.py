"""PNG files of plain arrays, six times as fast as libpng's encoders: one filter, and Intel's deflate.

Of the 13 ms of CPU that OpenCV takes for 640x480 in colour, half goes into choosing a filter row by row and most of
the rest into zlib. Here each row is stored as its difference to the one above (filter 2 of the PNG specification,
section 9.2) and packed by ISA-L in one piece: 2 ms, and files 1 to 7 % larger (photographs; 20 % for dark, noisy ones).
"""

import struct
import sys
import zlib

import numpy as np
from isal import isal_zlib

from upfusion.color import Pixels

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP = 2
_GREY, _RGB = 0, 2
_LEVEL = 1


def encode_png(pixels: Pixels) -> bytes:
    """Encode an array `(H, W)` grey or `(H, W, 3)` RGB, uint8 or uint16, without loss.

    ISA-L suits its code to the processor, so two kinds of machines may pack the same pixels differently.
    """
    height, width = pixels.shape[:2]
    samples = pixels.byteswap() if pixels.itemsize == 2 and sys.byteorder == "little" else pixels
    rows = np.ascontiguousarray(samples).reshape(height, -1).view(np.uint8)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, _GREY if pixels.ndim == 2 else _RGB, 0, 0, 0)
    packed = isal_zlib.compress(filtered, _LEVEL)
    return b"".join((_SIGNATURE, *_chunk(b"IHDR", header), *_chunk(b"IDAT", packed), *_chunk(b"IEND", b"")))


def _chunk(kind: bytes, payload: bytes) -> tuple[bytes, ...]:
    checksum = isal_zlib.crc32(payload, zlib.crc32(kind))
    return struct.pack(">I", len(payload)), kind, payload, struct.pack(">I", checksum)
