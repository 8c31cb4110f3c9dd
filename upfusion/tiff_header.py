"""What a TIFF's first directory declares about its pixels, read without trusting any decoder with it.

Only the tags that change pixels are read; damaged or foreign ones beside them cost nothing. TIFF 6.0 and BigTIFF;
section numbers are those of the TIFF 6.0 specification (Adobe, 1992).
"""

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upfusion.image_errors import damaged, truncated, unsupported

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_SIZES, PLANAR = 273, 274, 277, 278, 279, 284
PREDICTOR, COLOR_MAP, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_SIZES = 317, 320, 322, 323, 324, 325
SUBFILE_TYPE, SUB_IFDS, INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, XMP = 254, 330, 332, 338, 339, 700
YCBCR_COEFFICIENTS, YCBCR_SUBSAMPLING, REFERENCE_BLACK_WHITE = 529, 530, 532

# Repeated, each of these has a value that some readers take and others do not.
_READ = frozenset(
    {WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP}
    | {STRIP_SIZES, PLANAR, PREDICTOR, COLOR_MAP, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_SIZES, SUBFILE_TYPE}
    | {SUB_IFDS, INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, XMP, YCBCR_COEFFICIENTS, YCBCR_SUBSAMPLING}
    | {REFERENCE_BLACK_WHITE}
)
# BYTE, ASCII, SHORT, LONG, UNDEFINED, IFD, LONG8, IFD8.
_TYPES = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 7: "u1", 13: "u4", 16: "u8", 18: "u8"}
_MOST_PAGES = 10_000
_MOST_VALUES = 1000

XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB = 0, 1, 2, 3, 5, 6, 8
_PHOTOMETRICS = {
    4: "a transparency mask",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "the raw mosaic of a camera's sensor",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw",
}
UNCOMPRESSED, LZW, OLD_JPEG, JPEG, DEFLATE, PACK_BITS, OLD_DEFLATE = 1, 5, 6, 7, 8, 32773, 32946
LZMA, ZSTD = 34925, 50000
_COMPRESSIONS = {
    2: "CCITT fax", 3: "CCITT fax", 4: "CCITT fax",
    9: "JBIG", 10: "JBIG", 32766: "NeXT", 32809: "ThunderScan", 33003: "JPEG 2000", 33004: "JPEG 2000",
    33005: "JPEG 2000", 34661: "JBIG", 34676: "SGI LogLuv", 34677: "SGI LogLuv", 34712: "JPEG 2000", 34713: "Nikon NEF",
    34887: "LERC", 34933: "PNG", 34934: "JPEG XR", 22610: "JPEG XR", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
    65000: "Kodak DCR", 65535: "Pentax PEF",
}  # fmt: skip
_FORMATS = {
    2: "signed integers",
    3: "floats",
    4: "values of an undefined type",
    5: "complex integers",
    6: "complex floats",
}


def is_tiff(data: bytes) -> bool:
    """Tell a TIFF or BigTIFF by its first bytes."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True)
class TiffHeader:
    """The first directory of a TIFF; sizes are as stored, before the orientation is applied."""

    order: str
    """`<` or `>`, as numpy and struct write byte orders."""
    tags: dict[int, NDArray[np.unsignedinteger[Any]]]
    """Values of those tags that change pixels, where they are there: views into the file, however many they are."""

    @property
    def width(self) -> int:
        """Pixels of a row."""
        return self.one(WIDTH)

    @property
    def height(self) -> int:
        """Rows."""
        return self.one(LENGTH)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as displayed."""
        return (self.height, self.width) if self.orientation in (5, 6, 7, 8) else (self.width, self.height)

    @property
    def samples(self) -> int:
        """Samples of a pixel, colour and others (section 7)."""
        return self.one(SAMPLES, 1)

    @cached_property
    def bits(self) -> int:
        """Bits of every sample; raises ImageError where they differ."""
        given = self.several(BITS, 1)
        if len(set(given[: self.samples])) != 1:
            raise unsupported(f"a TIFF of samples of different depths ({', '.join(map(str, given[:8]))} bits)")
        return given[0]

    @cached_property
    def sample_format(self) -> int:
        """1 for unsigned integers, which is what every TIFF means without the tag."""
        given = self.several(SAMPLE_FORMAT, 1)
        if len(set(given)) != 1:
            raise unsupported("a TIFF of samples of different types")
        return given[0]

    @property
    def compression(self) -> int:
        """How strips and tiles are packed."""
        return self.one(COMPRESSION, UNCOMPRESSED)

    @property
    def photometric(self) -> int:
        """What the samples mean; a required tag, and zero as white where it lacks, as Pillow and libtiff read it."""
        return self.one(PHOTOMETRIC, WHITE_IS_ZERO)

    @property
    def planar(self) -> bool:
        """Whether the samples of a pixel lie in separate planes."""
        return self.one(PLANAR, 1) == 2

    @cached_property
    def colors(self) -> int:
        """How many of the samples are colour: 1, 3 or 4."""
        return {RGB: 3, YCBCR: 3, CIELAB: 3, CMYK: 4}.get(self.photometric, 1)

    @cached_property
    def extra(self) -> tuple[int, ...]:
        """What each sample beyond the colour is: 0 unspecified, 1 premultiplied alpha, 2 alpha (section 18)."""
        beyond = self.samples - self.colors
        given = self.several(EXTRA_SAMPLES)[: max(0, beyond)]
        if not given and self.photometric == RGB and beyond == 1:
            return (2,)  # as Pillow reads what lacks the tag
        return given + (0,) * (beyond - len(given))

    @cached_property
    def orientation(self) -> int:
        """1 to 8; XMP's, where there is no tag."""
        if ORIENTATION in self.tags:
            found = self.one(ORIENTATION)
        else:
            match = XMP_ORIENTATION.search(self.tags[XMP].tobytes()) if XMP in self.tags else None
            found = int(match[1]) if match else 1
        return found if 1 <= found <= 8 else 1

    @property
    def tile(self) -> tuple[int, int] | None:
        """(width, height) of the tiles; None for strips."""
        return (self.one(TILE_WIDTH), self.one(TILE_LENGTH)) if TILE_WIDTH in self.tags else None

    @property
    def segment(self) -> tuple[int, int]:
        """(width, height) of a whole strip or tile."""
        return self.tile or (self.width, min(self.height, self.one(ROWS_PER_STRIP, self.height) or self.height))

    def one(self, tag: int, default: int | None = None) -> int:
        """Return the one value of a tag; raises ImageError (`damaged_image`) where there is none."""
        values = self.tags.get(tag)
        if values is not None and len(values):
            return int(values[0])
        if default is None:
            raise damaged(f"the TIFF lacks tag {tag}")
        return default

    def several(self, tag: int, *default: int) -> tuple[int, ...]:
        """Return the values of a tag that has one a sample, as many as are of use."""
        return tuple(self.tags[tag][:_MOST_VALUES].tolist()) if len(self.tags.get(tag, ())) else default

    def kind(self) -> str:
        """Say in words what the file holds, for a sentence that refuses it."""
        parts = [f"{self.one(BITS, 1)}-bit"]
        if self.compression not in (UNCOMPRESSED, LZW, DEFLATE, PACK_BITS, OLD_DEFLATE, LZMA, ZSTD):
            name = _COMPRESSIONS.get(self.compression, "JPEG" if self.compression in (JPEG, OLD_JPEG) else None)
            parts.append(f"{name or f'compression {self.compression}'} in")
        parts.append("TIFF")
        about = [_FORMATS[one] for one in set(self.several(SAMPLE_FORMAT, 1)) if one in _FORMATS]
        about += [f"{self.samples} samples per pixel"] if self.samples > 1 else []
        about += [_PHOTOMETRICS.get(self.photometric, f"photometric interpretation {self.photometric}")] * (
            self.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB)
        )
        about += ["CMYK"] * (self.photometric == CMYK) + ["YCbCr"] * (self.photometric == YCBCR)
        about += ["L*a*b*"] * (self.photometric == CIELAB) + ["in separate planes"] * self.planar
        return " ".join(parts) + (f" ({', '.join(about)})" if about else "")


def read_tiff_header(data: bytes) -> TiffHeader:
    """Read the first directory; raises ImageError (`truncated_image` where it lies beyond the end, `damaged_image`)."""
    order = "<" if data.startswith(b"II") else ">"
    number = _Reader(data, order)
    place = number.first
    if not 0 < place < len(data):
        raise truncated("the TIFF's directory lies beyond its end")
    entries = number(place, number.counting)
    start = place + number.counting
    tags: dict[int, NDArray[np.unsignedinteger[Any]]] = {}
    for at in range(start, start + entries * number.entry, number.entry):
        if at + number.entry > len(data):
            raise truncated("the TIFF ends in its directory")
        tag, kind = number(at, 2), number(at + 2, 2)
        if tag not in _READ:
            continue
        if tag in tags:
            raise damaged(f"the TIFF has tag {tag} twice")
        tags[tag] = _values(data, number, at, tag, kind)
    header = TiffHeader(order, tags)
    if not header.width or not header.height or not header.samples:
        raise damaged("the TIFF declares no pixels")
    if header.tile is not None and 0 in header.tile:
        raise damaged("the TIFF declares tiles without pixels")
    if header.one(SUBFILE_TYPE, 0) & 1 and SUB_IFDS in tags:
        raise unsupported("a raw photograph or pyramid whose first TIFF page is a reduced copy")
    return header


def count_pages(data: bytes) -> int | None:
    """Follow a TIFF's chain of directories, reading none of them (Pillow's way takes the square of their number).

    More than 10,000 pages are not counted, which is None.
    """
    number = _Reader(data, "<" if data.startswith(b"II") else ">")
    place, seen = number.first, set[int]()
    for pages in count():
        if not 0 < place < len(data) or place in seen:
            return max(1, pages)
        if pages == _MOST_PAGES:
            return None
        seen.add(place)
        place = number(place + number.counting + number.entry * number(place, number.counting), number.offset)
    return None


class _Reader:
    """Numbers of a TIFF's directories; `counting`, `entry` and `offset` are the sizes of their parts in bytes."""

    def __init__(self, data: bytes, order: str) -> None:
        self._data, self.order = data, order
        self._word: Any = "little" if order == "<" else "big"
        # BigTIFF has 8 bytes where TIFF has 4, 20 where it has 12, and counts entries in 8 instead of 2.
        big = b"+" in data[2:4]
        self.counting, self.entry, self.offset = (8, 20, 8) if big else (2, 12, 4)
        self.first = self(8 if big else 4, self.offset)

    def __call__(self, place: int, size: int) -> int:
        return int.from_bytes(self._data[place : place + size], self._word)


def _values(data: bytes, number: _Reader, at: int, tag: int, kind: int) -> NDArray[np.unsignedinteger[Any]]:
    values, place = number(at + 4, number.offset), at + 4 + number.offset
    if tag in (YCBCR_COEFFICIENTS, REFERENCE_BLACK_WHITE):
        return np.ones(1, np.uint8)  # fractions, of which it matters only that they are there
    if kind not in _TYPES:
        raise damaged(f"the TIFF's tag {tag} is of type {kind}")
    dtype = np.dtype(number.order + _TYPES[kind])
    if values * dtype.itemsize > number.offset:
        place = number(place, number.offset)
    if place + values * dtype.itemsize > len(data):
        raise truncated(f"the TIFF ends before the values of tag {tag}")
    return np.frombuffer(data, dtype, values, place)
