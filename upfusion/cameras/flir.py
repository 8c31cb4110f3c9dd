"""FLIR's radiometric JPEG: sensor counts, the embedded visible image and their calibration, from one file.

The records lie in APP1 segments of the JPEG and form a file of their own (FFF). The layout is documented by ExifTool's
FLIR module (exiftool.org/TagNames/FLIR.html). Libraries were looked at in 2026: flyr is under the EUPL, a copyleft
licence; flirimageextractor pins an old Pillow, and it and flirpy run ExifTool.
"""

import struct
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from upfusion.cameras.jpeg_segments import segments
from upfusion.cameras.planck import Planck
from upfusion.color import Pixels
from upfusion.image_guard import MAX_PIXELS, ImageError, open_image
from upfusion.images import decode_image

Counts = NDArray[np.uint16]

_APP1, _FLIR = 0xE1, b"FLIR\0"
_HEADER, _ENTRY, _PREFIX = 0x40, 0x20, 0x20
_MOST_ENTRIES = 1024
_RAW_DATA, _EMBEDDED_IMAGE, _CAMERA_INFO, _PICTURE_IN_PICTURE = 0x01, 0x0E, 0x20, 0x2A
_PNG, _JPEG = b"\x89PNG", b"\xff\xd8\xff"


@dataclass(frozen=True)
class PictureInPicture:
    """Where the manufacturer puts the thermal image into the visible one."""

    real_to_ir: float
    """How many times wider the visible image sees than the thermal one."""
    offset_x: int
    offset_y: int
    """Pixels of the visible image from its centre to the thermal image's, to the right and down."""

    def matrix(self, visible: tuple[int, int], thermal: tuple[int, int]) -> NDArray[np.float64]:
        """Return the 3x3 transform from thermal to visible pixels (centres at integers); sizes are (width, height)."""
        scale = visible[0] / (self.real_to_ir * thermal[0])
        shift_x = (visible[0] - 1) / 2 + self.offset_x - scale * (thermal[0] - 1) / 2
        shift_y = (visible[1] - 1) / 2 + self.offset_y - scale * (thermal[1] - 1) / 2
        return np.array([[scale, 0, shift_x], [0, scale, shift_y], [0, 0, 1]])


@dataclass(frozen=True)
class FlirImage:
    """What a FLIR radiometric JPEG holds."""

    counts: Counts
    """Sensor counts `(H, W)`, as stored (the JPEG's orientation is not applied)."""
    visible: Pixels | None
    """The embedded image of the visible camera, RGB or grey, in the same orientation; None where there is none."""
    placement: PictureInPicture | None
    planck: Planck | None
    """What turns counts into degrees."""


def decode_flir(data: bytes, max_pixels: int = MAX_PIXELS, *, visible: bool = True) -> FlirImage:
    """Read the records of a FLIR radiometric JPEG; `visible=False` leaves the embedded image undecoded.

    Memory is bounded by the size of the file and by `max_pixels` for each of both images. Raises ImageError and nothing
    else (`not_an_image` where there are no FLIR records, `truncated_image`, `unsupported_image`, `too_large`).
    """
    records = _records(_joined(data))
    if _RAW_DATA not in records:
        raise ImageError("unsupported_image", "the FLIR records hold no raw thermal image")
    info = records.get(_CAMERA_INFO, b"")
    embedded = records.get(_EMBEDDED_IMAGE) if visible else None
    return FlirImage(
        counts=_counts(records[_RAW_DATA], info, max_pixels),
        visible=None if embedded is None else _visible(embedded, max_pixels),
        placement=_placement(records.get(_PICTURE_IN_PICTURE, b"")),
        planck=Planck.parse(info),
    )


def _joined(data: bytes) -> bytes:
    """Join the numbered FLIR segments: five bytes of name, one byte, their number, the last number, then the bytes."""
    parts: dict[int, bytes] = {}
    last = None
    for marker, start, end in segments(data):
        if marker != _APP1 or data[start : start + 5] != _FLIR or end - start < 8:
            continue
        if end > len(data):
            raise ImageError("truncated_image", "the file ends within a FLIR segment")
        number, final = data[start + 6], data[start + 7]
        if number in parts or number > final or last not in (None, final):
            raise ImageError("truncated_image", "the FLIR segments are numbered inconsistently")
        parts[number], last = data[start + 8 : end], final
    if last is None:
        raise ImageError("not_an_image", "not a FLIR radiometric JPEG: it has no FLIR segment")
    if len(parts) != last + 1:
        raise ImageError("truncated_image", f"{len(parts)} of {last + 1} FLIR segments are there")
    return b"".join(parts[number] for number in range(last + 1))


def _records(fff: bytes) -> dict[int, bytes]:
    """Return the first record of each type."""
    if len(fff) < _HEADER or fff[:4] not in (b"FFF\0", b"AFF\0"):
        raise ImageError("truncated_image", "the FLIR segments hold no FFF file")
    # JPEGs have big-endian directories, FFF files little-endian ones; the version, about 100, tells.
    order = next((o for o in "><" if 100 <= struct.unpack_from(f"{o}I", fff, 0x14)[0] < 200), None)
    if order is None:
        raise ImageError("unsupported_image", "the FLIR records are of a version that is not known")
    place, count = struct.unpack_from(f"{order}II", fff, 0x18)
    if count > _MOST_ENTRIES or place + count * _ENTRY > len(fff):
        raise ImageError("truncated_image", "the directory of the FLIR records is damaged")
    records: dict[int, bytes] = {}
    for entry in range(place, place + count * _ENTRY, _ENTRY):
        (kind,) = struct.unpack_from(f"{order}H", fff, entry)
        start, length = struct.unpack_from(f"{order}II", fff, entry + 0x0C)
        # Records may claim the same bytes: only those that are used, once each, are copied.
        if kind not in (_RAW_DATA, _EMBEDDED_IMAGE, _CAMERA_INFO, _PICTURE_IN_PICTURE) or kind in records:
            continue
        if start + length > len(fff):
            raise ImageError("truncated_image", "a FLIR record reaches beyond the file")
        records[kind] = fff[start : start + length]
    return records


def _size(record: bytes, what: str, max_pixels: int) -> tuple[str, int, int]:
    """Return the byte order, width and height that a record of an image declares."""
    if len(record) < _PREFIX:
        raise ImageError("truncated_image", f"the record of the {what} is too short")
    # The first number is small in the right order.
    order = "<" if struct.unpack_from("<H", record)[0] < 0x100 else ">"
    width, height = struct.unpack_from(f"{order}HH", record, 2)
    if width * height == 0:
        raise ImageError("truncated_image", f"the {what} is declared as {width}x{height} pixels")
    if width * height > max_pixels:
        raise ImageError("too_large", f"the {what} is too large: {width}x{height}, more than {max_pixels} pixels")
    return order, width, height


def _counts(record: bytes, info: bytes, max_pixels: int) -> Counts:
    order, width, height = _size(record, "raw thermal image", max_pixels)
    body = record[_PREFIX:]
    if body[:4] == _PNG:
        return _png_counts(body, (width, height), info, max_pixels)
    if body[:3] == _JPEG:
        raise ImageError("unsupported_image", "the raw thermal image is a JPEG, which holds no counts")
    if len(body) < 2 * width * height:
        raise ImageError("truncated_image", f"the raw thermal image ends before its {width}x{height} pixels do")
    return np.frombuffer(body, f"{order}u2", width * height).reshape(height, width).astype(np.uint16)


def _png_counts(body: bytes, size: tuple[int, int], info: bytes, max_pixels: int) -> Counts:
    with open_image(body, max_pixels) as image:
        if image.format != "PNG" or image.mode not in ("I;16", "I;16B"):
            raise ImageError("unsupported_image", f"the raw thermal image is a {image.format} of type {image.mode}")
        if image.size != size:
            raise ImageError("truncated_image", f"the raw thermal image is {image.size}, and declared as {size}")
        image.load()
        counts = np.asarray(image).astype(np.uint16)
    return _in_order(counts, info)


def _in_order(counts: Counts, info: bytes) -> Counts:
    """Undo the wrong byte order in which most FLIR cameras write their PNGs.

    Counts of a scene are smooth in the right order and noise in the other. Where both are alike (a flat image), the
    camera's own median decides, and without one the order that is usual.
    """
    swapped = counts.byteswap()
    as_stored, exchanged = _roughness(counts), _roughness(swapped)
    if as_stored != exchanged:
        return counts if as_stored < exchanged else swapped
    median = _raw_median(info)
    if median is not None and abs(int(np.median(counts)) - median) < abs(int(np.median(swapped)) - median):
        return counts
    return swapped


def _roughness(counts: Counts) -> float:
    signed = counts.astype(np.int32)
    return float(np.abs(np.diff(signed, axis=0)).sum() + np.abs(np.diff(signed, axis=1)).sum())


def _raw_median(info: bytes) -> int | None:
    if len(info) < 0x33A:
        return None
    order = "<" if struct.unpack_from("<H", info)[0] < 0x100 else ">"
    return int(struct.unpack_from(f"{order}H", info, 0x338)[0])


def _visible(record: bytes, max_pixels: int) -> Pixels:
    _size(record, "embedded visible image", max_pixels)
    body = record[_PREFIX:]
    if body[:4] == _PNG:
        pixels = decode_image(body, max_pixels).pixels
        # Its channels are Y, Cb and Cr, under the name of red, green and blue.
        if pixels.ndim == 3 and pixels.dtype == np.uint8:
            converted = cv2.cvtColor(np.ascontiguousarray(pixels[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)
            return np.asarray(converted, dtype=np.uint8)
        return pixels
    if body[:3] == _JPEG:
        return decode_image(body, max_pixels).pixels
    raise ImageError("unsupported_image", "the embedded visible image is neither JPEG nor PNG")


def _placement(record: bytes) -> PictureInPicture | None:
    if len(record) < 8:
        return None
    real_to_ir, offset_x, offset_y = struct.unpack_from("<fhh", record)
    # A camera sees at least as much in the visible, and no camera ten times as much.
    return PictureInPicture(real_to_ir, offset_x, offset_y) if 0.5 <= real_to_ir <= 10 else None
