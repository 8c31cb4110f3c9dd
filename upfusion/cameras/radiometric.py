"""Radiometric JPEGs: a coloured preview for people, and behind it what the sensor measured.

FLIR's are decoded (flir.py). DJI's are recognised: their counts become degrees only in DJI's own Thermal SDK.
"""

from typing import Literal

from upfusion.cameras.jpeg_segments import segments

RadiometricKind = Literal["flir", "dji"]

_APP1, _APP3, _APP4 = 0xE1, 0xE3, 0xE4
_FLIR = b"FLIR\0"
# DJI's parameters of the thermal measurement begin so.
_DJI_PARAMETERS = b"\xaa\x55"

DJI_ADVICE = (
    "a DJI radiometric JPEG, whose temperatures only DJI's Thermal SDK decodes: convert it with `dji_irp -s FILE -a "
    "measure --measurefmt float32`, or fuse its coloured preview with --palette-b"
)


def radiometric_kind(head: bytes) -> RadiometricKind | None:
    """Tell a radiometric JPEG by its first kilobytes, or return None.

    FLIR's records and DJI's temperature segments stand before the pixels, behind at most 64 KiB of EXIF.
    """
    dji = False
    for marker, start, end in segments(head):
        if marker == _APP1 and head[start : start + 5] == _FLIR:
            return "flir"
        if marker == _APP1 and head[start : start + 6] == b"Exif\0\0":
            dji = b"DJI" in head[start:end]
        if dji and (marker == _APP3 or (marker == _APP4 and head[start : start + 2] == _DJI_PARAMETERS)):
            return "dji"
    return None
