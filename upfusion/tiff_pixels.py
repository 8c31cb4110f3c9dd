"""The pixels of a TIFF from its strips or tiles: every tag of the header that changes a pixel is honoured or refused.

Pillow cuts 16-bit colour to 8 bits, ignores the depth of 12 bits and knows a fixed list of kinds; OpenCV reads separate
planes as if they were one. So libraries only unpack here (libtiff by way of Pillow, zlib, lzma), and what the samples
mean is taken from the header. Each unpacks no more than the header declares: a bomb costs what an image of its size
does.
"""

import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from upfusion import tiff_header as tags
from upfusion.color import Pixels
from upfusion.image_errors import ImageError, damaged, truncated, unsupported
from upfusion.tiff_header import TiffHeader

Samples = NDArray[np.unsignedinteger[Any]]
"""uint8, or uint16 for more than 8 bits."""

_UNPACKED_HERE = (tags.UNCOMPRESSED, tags.DEFLATE, tags.OLD_DEFLATE, tags.LZMA)
_UNPACKED_BY_LIBTIFF = (tags.LZW, tags.PACK_BITS, tags.ZSTD)
# Strips that libtiff unpacks in one call: opening a file for each row of an image takes longer than unpacking it.
_BYTES_A_CALL = 4 << 20
# What is promised of memory (upfusion/images.py), and of parts of a file (upfusion/image_guard.py).
_BYTES_A_PIXEL = 24
_SEGMENTS, _BYTES_A_SEGMENT = 100_000, 64
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_ROWS_AT_ONCE = 64


def is_read_here(header: TiffHeader) -> bool:
    """Tell whether a TIFF's samples are read here; what is left is Pillow's, or nobody's."""
    return (
        header.compression in (*_UNPACKED_HERE, *_UNPACKED_BY_LIBTIFF)
        and header.sample_format == 1
        and 1 <= header.bits <= 16
        and header.photometric in (tags.WHITE_IS_ZERO, tags.BLACK_IS_ZERO, tags.RGB, tags.PALETTE, tags.CMYK)
        and header.samples >= header.colors
    )


def is_read_by_pillow(header: TiffHeader) -> bool:
    """Tell whether a TIFF is of a kind whose every tag Pillow honours: JPEG and YCbCr, in one plane.

    Not fax (CCITT): libtiff continues past damage in it, and libraries fill in different pixels.
    """
    if header.planar or header.sample_format != 1 or header.samples != header.colors:
        return False
    if header.bits != 8:
        return False
    if header.compression in (tags.JPEG, tags.OLD_JPEG):
        grey = header.photometric in (tags.WHITE_IS_ZERO, tags.BLACK_IS_ZERO)
        return grey or header.photometric in (tags.RGB, tags.YCBCR)
    if header.compression not in (*_UNPACKED_HERE, *_UNPACKED_BY_LIBTIFF):
        return False
    if header.photometric == tags.YCBCR and header.compression == tags.UNCOMPRESSED:
        # Pillow reads uncompressed YCbCr as if it were whole, of the whole range and of BT.601.
        plain = not {tags.YCBCR_COEFFICIENTS, tags.REFERENCE_BLACK_WHITE} & set(header.tags)
        return plain and header.several(tags.YCBCR_SUBSAMPLING, 2, 2) == (1, 1)
    return header.photometric == tags.YCBCR


def read_tiff_pixels(data: bytes, header: TiffHeader, max_pixels: int) -> Pixels:
    """Return the pixels `(H, W)` or `(H, W, 3)` as stored, 8 bits for samples of up to 8 bits, 16 for up to 16.

    Depths between are scaled to the whole range (4095 of 12 bits is white), zero is black, palettes and CMYK become
    RGB, and premultiplied colour is divided by its alpha. At most 24 bytes for each of `max_pixels` are used. Raises
    ImageError.
    """
    kept = _samples_kept(header)
    dtype = np.uint8 if header.bits <= 8 else np.uint16
    _check_memory(header, kept * np.dtype(dtype).itemsize, max_pixels)
    stored = np.empty((header.height, header.width, kept), dtype)
    for (top, left, first), block in _blocks(data, header, kept):
        # Tiles at the right and lower edge reach beyond the image.
        rows, columns = min(block.shape[0], header.height - top), min(block.shape[1], header.width - left)
        if rows > 0:
            stored[top : top + rows, left : left + columns, first : first + block.shape[2]] = block[:rows, :columns]
    grey = header.photometric in (tags.WHITE_IS_ZERO, tags.BLACK_IS_ZERO)
    pixels = np.empty(stored.shape[:2] if grey else (*stored.shape[:2], 3), dtype)
    finish = _meaning(header)
    for at in range(0, header.height, _ROWS_AT_ONCE):
        pixels[at : at + _ROWS_AT_ONCE] = finish(stored[at : at + _ROWS_AT_ONCE])
    return pixels


def _check_memory(header: TiffHeader, bytes_a_pixel: int, max_pixels: int) -> None:
    width, height = header.segment
    segment = width * height * (1 if header.planar else header.samples) * header.bits // 8
    # A strip or tile is held twice while it is unpacked.
    if 2 * segment + bytes_a_pixel * header.width * header.height > _BYTES_A_PIXEL * max_pixels:
        raise ImageError(
            "too_large", f"the TIFF has strips or tiles of {width}x{height}, more than {max_pixels} pixels"
        )


def _samples_kept(header: TiffHeader) -> int:
    """Return how many samples of each pixel are needed: its colour, and the alpha it was multiplied with."""
    if header.photometric == tags.WHITE_IS_ZERO and 1 in header.extra:
        raise unsupported(f"{header.kind()} whose grey, white at zero, is premultiplied")
    if header.colors == 1 and len(header.extra) > 1:
        raise unsupported(f"{header.kind()}, which does not say which of them are colours,")
    if header.photometric == tags.CMYK and (header.one(tags.INK_SET, 1) != 1 or header.bits not in (8, 16)):
        raise unsupported(f"{header.kind()} with other inks")
    if header.photometric in (tags.PALETTE, tags.CMYK) and 1 in header.extra:
        raise unsupported(f"{header.kind()}, premultiplied,")
    return header.colors + (header.extra[:1] == (1,))


def _meaning(header: TiffHeader) -> Callable[[Samples], Pixels]:
    """Return what turns stored samples `(h, W, kept)` into pixels."""
    top = 255 if header.bits <= 8 else 65535
    full = (1 << header.bits) - 1
    if header.photometric == tags.PALETTE:
        palette = _palette(header)
        return lambda stored: palette[stored[..., 0]]

    def scaled(stored: Samples) -> Samples:
        if full == top:
            return stored
        return ((stored.astype(np.uint32) * top + full // 2) // full).astype(stored.dtype)

    def pixels(stored: Samples) -> Pixels:
        values = scaled(stored)
        if header.photometric == tags.CMYK:
            return _from_cmyk(values, top)
        if header.extra[:1] == (1,):
            values = _unmultiplied(values, top)
        if header.photometric == tags.WHITE_IS_ZERO:
            values = (top - values).astype(values.dtype)
        return values[..., 0] if header.colors == 1 else values

    return pixels


def _palette(header: TiffHeader) -> NDArray[np.uint8]:
    given = header.tags.get(tags.COLOR_MAP, np.empty(0, np.uint16))
    if header.bits > 8 or len(given) != 3 << header.bits:
        raise damaged(f"a palette of {len(given)} values for {header.bits} bits")
    # 16 bits a value; some writers put 8, as libtiff knows too.
    values = given.astype(np.uint16)
    return (values >> 8 if values.max() > 255 else values).astype(np.uint8).reshape(3, -1).T.copy()


def _from_cmyk(values: Samples, top: int) -> Pixels:
    """Return RGB as Pillow and libtiff make it of CMYK without a profile."""
    inks, black = values[..., :3].astype(np.uint64), values[..., 3:].astype(np.uint64)
    rgb = ((top - inks) * (top - black) + top // 2) // top
    return rgb.astype(values.dtype)


def _unmultiplied(values: Samples, top: int) -> Samples:
    color, alpha = values[..., :-1], values[..., -1:].astype(np.uint32)
    divided = np.minimum(color.astype(np.uint64) * top // np.maximum(alpha, 1), top)
    return np.where(alpha > 0, divided, 0).astype(values.dtype)


def _blocks(data: bytes, header: TiffHeader, kept: int) -> Iterator[tuple[tuple[int, int, int], Samples]]:
    """Yield samples `(h, w, n)` of every strip or tile, some rows at a time, and their row, column and first sample."""
    width, height = header.segment
    chunky = 1 if header.planar else header.samples
    row_bytes = (width * chunky * header.bits + 7) // 8
    across, down = -(-header.width // width), -(-header.height // height)
    planes = kept if header.planar else 1
    for number, raw in enumerate(_segments(data, header, across * down, planes, row_bytes)):
        plane, place = divmod(number, across * down)
        top, left = place // across * height, place % across * width
        for at in range(0, len(raw) // row_bytes, _ROWS_AT_ONCE):
            band = raw[at * row_bytes : (at + _ROWS_AT_ONCE) * row_bytes]
            samples = _to_samples(band, header, row_bytes, width * chunky).reshape(-1, width, chunky)
            samples = _undo_predictor(samples, header)
            yield (top + at, left, plane), samples if header.planar else samples[..., :kept]


def _segments(data: bytes, header: TiffHeader, per_plane: int, planes: int, row_bytes: int) -> Iterator[memoryview]:
    """Yield the unpacked bytes of the strips or tiles of the first `planes` planes."""
    tiled = header.tile is not None
    names = (tags.TILE_OFFSETS, tags.TILE_SIZES) if tiled else (tags.STRIP_OFFSETS, tags.STRIP_SIZES)
    offsets, sizes = (header.tags.get(name, np.empty(0, np.uint32)) for name in names)
    parts = per_plane * (header.samples if header.planar else 1)
    # One strip that lies there as it is has a size without the tag.
    unsized = not len(sizes) and not tiled and parts == 1 and header.compression == tags.UNCOMPRESSED
    if len(offsets) != parts or (len(sizes) != parts and not unsized):
        raise damaged(f"{parts} strips or tiles have {len(offsets)} places and {len(sizes)} sizes")
    if per_plane * planes > _SEGMENTS + len(data) // _BYTES_A_SEGMENT:
        raise ImageError("too_large", "the TIFF consists of far too many parts")
    height = header.segment[1]
    last = height if tiled else header.height - (per_plane - 1) * height
    wanted = [row_bytes * (last if (number + 1) % per_plane == 0 else height) for number in range(per_plane * planes)]

    view = memoryview(data)

    def stored(number: int) -> memoryview:
        place = int(offsets[number])
        size = int(sizes[number]) if len(sizes) else 0
        if header.compression == tags.UNCOMPRESSED:
            # Some writers leave the size out or write 0; the last strip may be padded to a whole one.
            if size and not wanted[number] <= size <= row_bytes * height + 1:
                raise damaged(f"strip or tile {number} has {size} of {wanted[number]} bytes")
            size = wanted[number]
        if place + size > len(data):
            raise truncated(f"strip or tile {number} lies beyond the end")
        found = view[place : place + size]
        return memoryview(bytes(found).translate(_REVERSED)) if header.one(tags.FILL_ORDER, 1) == 2 else found

    if header.compression in _UNPACKED_BY_LIBTIFF:
        yield from _by_libtiff(stored, wanted, row_bytes, header)
        return
    for number, size in enumerate(wanted):
        yield _unpack(stored(number), size, header.compression)


def _unpack(packed: memoryview, size: int, compression: int) -> memoryview:
    if compression == tags.UNCOMPRESSED:
        return packed
    try:
        if compression == tags.LZMA:
            found = lzma.LZMADecompressor(memlimit=1 << 28).decompress(packed, size)
        else:
            found = zlib.decompressobj().decompress(packed, size)
    except (zlib.error, lzma.LZMAError) as error:
        raise damaged(str(error)) from error
    if len(found) < size:
        raise damaged(f"a strip or tile holds {len(found)} of {size} bytes")
    return memoryview(found)


def _by_libtiff(
    stored: Callable[[int], memoryview], wanted: list[int], row_bytes: int, header: TiffHeader
) -> Iterator[memoryview]:
    """Unpack strips as those of grey files of one byte a sample, so that libtiff changes no value."""
    start = 0
    while start < len(wanted):
        end = start + 1
        # Only the last strip of a file may be shorter than the others.
        while end < len(wanted) and wanted[end - 1] == wanted[start] and sum(wanted[start : end + 1]) <= _BYTES_A_CALL:
            end += 1
        rows = [size // row_bytes for size in wanted[start:end]]
        file = _grey_tiff([stored(number) for number in range(start, end)], row_bytes, rows, header.compression)
        try:
            with Image.open(BytesIO(file), formats=("TIFF",)) as image:
                image.load()
                found = memoryview(image.tobytes())
        except (OSError, ValueError, SyntaxError) as error:
            raise damaged(f"a strip or tile cannot be unpacked ({error})") from error
        at = 0
        for size in wanted[start:end]:
            yield found[at : at + size]
            at += size
        start = end


def _grey_tiff(packed: list[memoryview], width: int, rows: list[int], compression: int) -> bytes:
    """Write a TIFF of 8-bit grey around packed strips; all but the last have as many rows as the first."""
    strips = [bytes(strip) + b"\0" * (len(strip) % 2) for strip in packed]
    places = 8 + np.concatenate([[0], np.cumsum([len(strip) for strip in strips])]).astype(np.uint32)
    body = b"".join(strips)
    after = int(places[-1])
    lists = places[:-1].astype("<u4").tobytes(), np.array([len(strip) for strip in strips], "<u4").tobytes()
    directory = after + len(lists[0]) + len(lists[1])
    several = len(strips) > 1
    values = {
        tags.WIDTH: (1, width),
        tags.LENGTH: (1, sum(rows)),
        tags.BITS: (1, 8),
        tags.COMPRESSION: (1, compression),
        tags.PHOTOMETRIC: (1, tags.BLACK_IS_ZERO),
        tags.STRIP_OFFSETS: (len(strips), after if several else int(places[0])),
        tags.SAMPLES: (1, 1),
        tags.ROWS_PER_STRIP: (1, rows[0]),
        tags.STRIP_SIZES: (len(strips), after + len(lists[0]) if several else len(strips[0])),
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, *value) for tag, value in sorted(values.items()))
    head = struct.pack("<2sHI", b"II", 42, directory)
    return b"".join([head, body, *lists, struct.pack("<H", len(values)), entries, bytes(4)])


def _to_samples(raw: memoryview, header: TiffHeader, row_bytes: int, row_samples: int) -> NDArray[Any]:
    """Turn unpacked bytes, whole rows of them, into samples, unscaled."""
    if header.bits == 8:
        return np.frombuffer(raw, np.uint8)
    if header.bits == 16:
        return np.frombuffer(raw, header.order + "u2").astype(np.uint16)
    rows = np.frombuffer(raw, np.uint8).reshape(-1, row_bytes)
    # Samples of other depths lie bit behind bit, highest first, in either byte order; rows begin at whole bytes.
    bits = np.unpackbits(rows, axis=1)[:, : row_samples * header.bits].reshape(len(rows), -1, header.bits)
    found = np.zeros(bits.shape[:2], np.uint8 if header.bits <= 8 else np.uint16)
    for place in range(header.bits):
        found = (found << 1) | bits[..., place]
    return found


def _undo_predictor(samples: NDArray[Any], header: TiffHeader) -> Samples:
    """Undo horizontal differencing (section 14): each sample was stored as its difference from its left neighbour."""
    predictor = header.one(tags.PREDICTOR, 1)
    if predictor == 1:
        return samples
    if predictor != 2 or header.bits not in (8, 16) or header.compression in (tags.UNCOMPRESSED, tags.PACK_BITS):
        raise unsupported(f"{header.kind()} with predictor {predictor}")
    return np.cumsum(samples, axis=1, dtype=samples.dtype)
