"""Metadata into encoded images, without touching their pixels: JPEG, PNG, WebP and TIFF.

OpenCV's own way (`imencodeWithMetadata`) fails on colour profiles beyond 64 KiB in JPEG and on those that libpng finds
fault with, and has none for TIFF.
"""

import struct
import zlib

from upfusion.cameras.ifd import EXIF_IFD, GPS_IFD, Entry, lay_out, read_directories
from upfusion.cameras.metadata import Metadata

_XMP_NAME = b"http://ns.adobe.com/xap/1.0/\0"
_ICC_NAME = b"ICC_PROFILE\0"
_ICC_PART = 65_519
_LARGEST_SEGMENT = 65_533
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_XMP, _ICC = 700, 34675


def embed_metadata(data: bytes, metadata: Metadata, channels: int) -> bytes:
    """Return an encoded JPEG, PNG, WebP or TIFF, as OpenCV writes them, with metadata for `channels` 1 or 3.

    GPS and georeference of a TIFF lie in tags of their own. Raises ValueError for bytes of another format.
    """
    metadata = metadata.for_channels(channels)
    if metadata.is_empty:
        return data
    if data[:3] == b"\xff\xd8\xff":
        return _in_jpeg(data, metadata)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _in_png(data, metadata)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _in_webp(data, metadata)
    if data[:4] == b"II*\0":
        return _in_tiff(data, metadata)
    raise ValueError(f"expected a JPEG, PNG, WebP or little-endian TIFF, got {data[:8]!r}")


def _in_jpeg(data: bytes, metadata: Metadata) -> bytes:
    parts = []
    if block := metadata.exif_block:
        parts.append((0xE1, b"Exif\0\0" + block))
    if metadata.xmp:
        parts.append((0xE1, _XMP_NAME + metadata.xmp))
    if metadata.icc:
        pieces = [metadata.icc[place : place + _ICC_PART] for place in range(0, len(metadata.icc), _ICC_PART)]
        parts += [(0xE2, _ICC_NAME + bytes([n, len(pieces)]) + piece) for n, piece in enumerate(pieces, start=1)]
    segments = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload
        for marker, payload in parts
        if len(payload) <= _LARGEST_SEGMENT
    )
    # Behind JFIF's own segment, which has to be the first.
    place = 2 + (2 + int.from_bytes(data[4:6], "big") if data[2:4] == b"\xff\xe0" else 0)
    return data[:place] + segments + data[place:]


def _in_png(data: bytes, metadata: Metadata) -> bytes:
    chunks = b""
    if metadata.icc:
        chunks += _chunk(b"iCCP", b"icc\0\0" + zlib.compress(metadata.icc))
    if block := metadata.exif_block:
        chunks += _chunk(b"eXIf", block)
    if metadata.xmp:
        chunks += _chunk(b"iTXt", _XMP_KEYWORD + b"\0\0\0\0\0" + metadata.xmp)
    header = 8 + 12 + int.from_bytes(data[8:12], "big")
    return data[:header] + chunks + data[header:]


def _chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def _in_webp(data: bytes, metadata: Metadata) -> bytes:
    """Turn a file of one image chunk into the extended form (RFC 9649, section 2.7)."""
    chunks, flags = data[12:], 0
    if data[12:16] == b"VP8X":
        flags, size, chunks = data[20], data[24:30], data[30:]
    else:
        width, height = _webp_size(data)
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    before, behind = b"", b""
    if metadata.icc:
        flags, before = flags | 0x20, _riff(b"ICCP", metadata.icc)
    if block := metadata.exif_block:
        flags, behind = flags | 0x08, _riff(b"EXIF", block)
    if metadata.xmp:
        flags, behind = flags | 0x04, behind + _riff(b"XMP ", metadata.xmp)
    body = b"WEBP" + _riff(b"VP8X", bytes([flags, 0, 0, 0]) + size) + before + chunks + behind
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _riff(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack("<I", len(payload)) + payload + bytes(len(payload) % 2)


def _webp_size(data: bytes) -> tuple[int, int]:
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def _in_tiff(data: bytes, metadata: Metadata) -> bytes:
    """Append a directory that repeats the first one and adds to it, and point to it."""
    main, _, _ = read_directories(data)
    added = {**metadata.main, **metadata.geo}
    if metadata.xmp:
        added[_XMP] = Entry(1, metadata.xmp)
    if metadata.icc:
        added[_ICC] = Entry(7, metadata.icc)
    kept = {tag: entry for tag, entry in added.items() if tag not in main and tag not in (EXIF_IFD, GPS_IFD)}
    data += bytes(len(data) % 2)
    return (
        data[:4]
        + struct.pack("<I", len(data))
        + data[8:]
        + lay_out({**main, **kept}, metadata.exif, metadata.gps, len(data))
    )
