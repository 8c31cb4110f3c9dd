"""What the header of an image file declares, read from its bytes, and the check of decoded pixels against it.

The library that decodes is not asked: what one library makes of a tag, another does not.
"""

import re
from dataclasses import dataclass

import numpy as np

from upfusion.color import Pixels
from upfusion.image_errors import ImageError, unsupported
from upfusion.tiff_header import CMYK, PALETTE, RGB, TiffHeader, is_tiff, read_tiff_header

_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_START_OF_SCAN, _END_OF_IMAGE, _START_OF_IMAGE = 0xDA, 0xD9, 0xD8
_MOST_SEGMENTS = 100_000
_JPEG_KINDS = {
    0xC3: "lossless JPEG", 0xC5: "hierarchical JPEG", 0xC6: "hierarchical JPEG", 0xC7: "lossless hierarchical JPEG",
    0xCB: "lossless JPEG", 0xCD: "hierarchical JPEG", 0xCE: "hierarchical JPEG", 0xCF: "lossless hierarchical JPEG",
    0xF7: "JPEG-LS",
}  # fmt: skip
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA} | set(_JPEG_KINDS)

# Files of these begin so whatever their name says; phones give HEIC the names of JPEGs.
_OTHERS = (
    (re.compile(rb"(?s)....ftyp(?:heic|heix|hevc|hevx|heim|heis|mif1|msf1)"), "HEIC"),
    (re.compile(rb"(?s)....ftypavi[fs]"), "AVIF"),
    (re.compile(rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a"), "JPEG XL"),
    (re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"), "JPEG 2000"),
    (re.compile(rb"II\xbc"), "JPEG XR"),
    (re.compile(rb"8BPS"), "a Photoshop document"),
    (re.compile(rb"\x76\x2f\x31\x01"), "OpenEXR"),
    (re.compile(rb"(?s).{128}DICM"), "DICOM"),
    (re.compile(rb"SIMPLE  ="), "FITS"),
    (re.compile(rb"\x89PNG\r\n\x1a\n\0\0\0\x04CgBI"), "an Apple CgBI PNG"),
)


@dataclass(frozen=True)
class Declared:
    """Size, planes, depth and orientation by the header alone."""

    width: int
    """Of a row as stored."""
    height: int
    channels: int | None
    """1 for grey and 3 for colour; None where the format leaves it to a palette."""
    bits: int
    """Of a sample: what is decoded has 8 for up to 8, else 16."""
    orientation: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as displayed."""
        return (self.height, self.width) if self.orientation in (5, 6, 7, 8) else (self.width, self.height)

    def check(self, pixels: Pixels) -> None:
        """Raise ImageError (`unsupported_image`) where decoded pixels are not what the header declares."""
        found = (pixels.shape[1], pixels.shape[0]), 1 if pixels.ndim == 2 else pixels.shape[2], pixels.dtype
        dtype = np.dtype(np.uint8 if self.bits <= 8 else np.uint16)
        declared = self.size, self.channels or found[1], dtype
        if found != declared:
            said, is_ = (f"{s[0]}x{s[1]} pixels of {c} channels ({d})" for s, c, d in (declared, found))
            raise ImageError("unsupported_image", f"the image was decoded as {is_}, and its header declares {said}")


def other_kind(head: bytes) -> str | None:
    """Name the kind of a file that is an image, but of a kind that is not read; None for all others."""
    found = next((name for pattern, name in _OTHERS if pattern.match(head)), None)
    if found is None and head.startswith(b"\xff\xd8"):
        frame = _jpeg_frame(head)
        if frame is not None and frame[0] in _JPEG_KINDS:
            found = _JPEG_KINDS[frame[0]]
        elif frame is not None and (frame[1] != 8 or frame[4] not in (1, 3, 4)):
            found = f"JPEG of {frame[1]} bits" if frame[1] != 8 else f"JPEG of {frame[4]} components"
    return found


def declared(data: bytes, orientation: int = 1) -> Declared:
    """Read what a file of a kind that is read declares; `orientation` is the one of its EXIF or XMP, but for TIFF.

    Raises ImageError where the header cannot be read, or declares what is not decoded.
    """
    if is_tiff(data):
        return declared_by_tiff(read_tiff_header(data))
    if data.startswith(b"\x89PNG"):
        width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
        return Declared(width, height, 1 if data[25] in (0, 4) else 3, data[24], orientation)
    if data.startswith(b"\xff\xd8"):
        frame = _jpeg_frame(data)
        if frame is None:
            raise unsupported("a JPEG without a frame header")
        _, bits, height, width, components = frame
        return Declared(width, height, 1 if components == 1 else 3, bits, orientation)
    if data.startswith(b"RIFF"):
        size = webp_size(data)
        if size is None:
            raise unsupported("a WebP without a picture")
        return Declared(*size, 3, 8, orientation)
    if data.startswith(b"BM"):
        old = int.from_bytes(data[14:18], "little") == 12  # OS/2's header
        at, count = (18, 2) if old else (18, 4)
        width, height = (int.from_bytes(data[a : a + count], "little", signed=not old) for a in (at, at + count))
        return Declared(width, abs(height), None, 8, orientation)
    width, height = (int.from_bytes(data[at : at + 2], "little") for at in (6, 8))
    return Declared(width, height, None, 8, orientation)


def declared_by_tiff(header: TiffHeader) -> Declared:
    """Return what a TIFF declares."""
    color = header.photometric in (RGB, PALETTE, CMYK) or header.colors == 3
    bits = 8 if header.photometric == PALETTE else header.bits
    return Declared(header.width, header.height, 3 if color else 1, bits, header.orientation)


def webp_size(head: bytes) -> tuple[int, int] | None:
    """Return the stored size from the head of a WebP file, which Pillow opens only as a whole."""
    if len(head) < 30 or head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    match head[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
        case b"VP8 ":
            return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None


def count_scans(data: bytes, most: int) -> int | None:
    """Count the scans of a JPEG's first image, at most one beyond `most`; None where it has no end.

    Segments such as thumbnails are passed over.
    """
    place, scans = len(b"\xff\xd8"), 0
    while (match := _MARKER.search(data, place)) and scans <= most:
        kind, place = match[1][0], match.end()
        if kind == _END_OF_IMAGE:
            return scans
        scans += kind == _START_OF_SCAN
        if kind != _START_OF_IMAGE:
            place += int.from_bytes(data[place : place + 2], "big")
    return scans if scans > most else None


def ends_early(data: bytes) -> bool:
    """Tell whether a file ends before what its own parts declare does; other damage is none of this."""
    if data.startswith(b"\x89PNG"):
        return _png_ends_early(data)
    if data.startswith(b"\xff\xd8"):
        return count_scans(data, len(data)) is None
    if data.startswith(b"RIFF"):
        return len(data) < 30 or int.from_bytes(data[4:8], "little") + 8 > len(data) + len(data) % 2
    if data.startswith(b"BM"):
        return len(data) < 26 or max(int.from_bytes(data[at : at + 4], "little") for at in (2, 10)) > len(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return not data.rstrip(b"\0").endswith(b";")
    return len(data) < 8


def _png_ends_early(data: bytes) -> bool:
    at, chunks = 8, 0
    while at + 12 <= len(data) and chunks < _MOST_SEGMENTS:
        kind = data[at + 4 : at + 8]
        if kind == b"IEND" or not kind.isalpha():
            return False
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        chunks += 1
    return chunks < _MOST_SEGMENTS


def _jpeg_frame(data: bytes) -> tuple[int, int, int, int, int] | None:
    """Return a JPEG's first frame header: marker, bits, height, width, components; None where there is none."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        match = _MARKER.search(data, at)
        if match is None:
            return None
        kind, at = match[1][0], match.end()
        if kind in _FRAMES:
            if at + 8 > len(data):
                return None
            height, width = (int.from_bytes(data[a : a + 2], "big") for a in (at + 3, at + 5))
            return kind, data[at + 2], height, width, data[at + 7]
        if kind in (_START_OF_SCAN, _END_OF_IMAGE):
            return None
        if kind != _START_OF_IMAGE:
            at += int.from_bytes(data[at : at + 2], "big")
    return None
