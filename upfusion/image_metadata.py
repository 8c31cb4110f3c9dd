"""What EXIF and XMP say of an image, and images without them: damaged metadata costs no pixel."""

import zlib
from collections.abc import Iterator

from PIL import ExifTags, Image

from upfusion.image_errors import ImageError
from upfusion.tiff_header import XMP_ORIENTATION

_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
# What changes the pixels of a PNG, and where its orientation is.
_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf"})
_PNG_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_MOST_PARTS = 100_000
# Segments of a JPEG that hold metadata; 14 (Adobe) says what its colours are.
_JPEG_METADATA = frozenset({*range(0xE0, 0xEE), 0xEF, 0xFE})
_APP1 = 0xE1


def orientation_of(image: Image.Image, *, loads: bool = True) -> int:
    """Return the orientation, 1 to 8, that EXIF or else XMP give an image; 1 where they are damaged or say nothing.

    Without `loads` a PNG is searched only up to its pixels. A loaded TIFF is upright already and has none left.
    """
    try:
        exif = image.getexif() if loads else Image.Image.getexif(image)
        found = exif.get(ExifTags.Base.Orientation)
    except ImageError:  # the file costs more than is allowed
        raise
    except Exception:  # noqa: BLE001  # damaged metadata makes Pillow raise nearly anything
        found = _xmp_orientation(image)
    return next((known for known in range(1, 9) if known == found), 1)


def without_metadata(data: bytes) -> bytes | None:
    """Return a PNG or JPEG less the parts that change no pixel; None for other formats, or where nothing is left."""
    if data.startswith(_PNG_HEAD):
        parts = list(_png_chunks(data))
        return _PNG_HEAD + b"".join(parts) if parts else None
    if data.startswith(b"\xff\xd8"):
        return data[:2] + b"".join(_jpeg_segments(data))
    return None


def _xmp_orientation(image: Image.Image) -> int | None:
    xmp = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or b""
    match = XMP_ORIENTATION.search(xmp.encode() if isinstance(xmp, str) else bytes(xmp))
    return int(match[1]) if match else None


def _png_chunks(data: bytes) -> Iterator[bytes]:
    at = len(_PNG_HEAD)
    for _ in range(_MOST_PARTS):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + size
        whole = end <= len(data) and zlib.crc32(data[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
        # Whoever reads it finds the damage of what is needed.
        if kind in _PNG_NEEDED or (kind in _PNG_KEPT and whole):
            yield data[at:end]
        if kind == b"IEND" or end > len(data):
            return
        at = end


def _jpeg_segments(data: bytes) -> Iterator[bytes]:
    at = 2
    for _ in range(_MOST_PARTS):
        if data[at : at + 1] != b"\xff" or data[at + 1] not in _JPEG_METADATA:
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == _APP1 and data[at + 4 : at + 8] == b"Exif":
            yield data[at:end]
        at = end
    yield data[at:]
