"""Whether the packed pixels of a PNG are all there: Pillow leaves black what a stream that ends too soon lacks."""

import zlib
from collections.abc import Iterator

from upfusion.color import Pixels
from upfusion.image_errors import damaged

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Adam7: first column and row, and the steps to the next, of each pass (PNG specification, section 8.2).
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_AT_ONCE = 1 << 20


def check_png_data(data: bytes, pixels: Pixels) -> None:
    """Raise ImageError (`damaged_image`) where a PNG has fewer packed pixels than its header declares.

    Unpacking all of it again takes longer than the rest of decoding, so that is done only where the last row, which is
    what lacks first, is black, and for interlaced files.
    """
    interlaced = data[28] == 1
    if not interlaced and pixels[-1].any():
        return
    wanted = _size(data, interlaced)
    unpack = zlib.decompressobj()
    found = 0
    for part in _parts(data):
        while found < wanted:
            some = unpack.decompress(part, _AT_ONCE)
            found += len(some)
            part = unpack.unconsumed_tail
            if not some:
                break
    if found < wanted:
        raise damaged(f"its pixels end after {found} of {wanted} bytes")


def _size(data: bytes, interlaced: bool) -> int:
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    bits = data[24] * _SAMPLES[data[25]]
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = ((-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes)
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns > 0 and rows > 0)


def _parts(data: bytes) -> Iterator[bytes]:
    at = 8
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"IDAT":
            yield data[at + 8 : at + 8 + size]
        elif kind == b"IEND":
            return
        at += 12 + size
