"""What an image says of itself beside its pixels: when, where and with what it was taken, and its colour profile."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from upfusion.cameras.ifd import Directory, Entry, read_directories, write_directories
from upfusion.image_guard import ImageError, open_image

# Main directory: description, make, model, resolution, software, time, artist, host, copyright, Windows' titles. All
# else describes pixels, points to something, or is private.
_KEPT = frozenset({270, 271, 272, 282, 283, 296, 305, 306, 315, 316, 33432, *range(40091, 40096)})
# EXIF: maker notes, the size of the pixels, a pointer, padding.
_DROPPED = frozenset({0x927C, 0xA002, 0xA003, 0xA005, 0xEA1C})
GEO_TAGS = frozenset({33550, 33922, 34264, 34735, 34736, 34737})
"""GeoTIFF: pixel scale, tie points, transformation, keys and their parameters (OGC 19-008r4)."""
_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION = 33550, 33922, 34264
_XMP, _ICC, _ORIENTATION = 700, 34675, 274
# Bytes of one value: everything together has to fit into one segment of a JPEG.
_LONGEST_VALUE = 16_000
_LARGEST_XMP = 65_000
_LARGEST_ICC = 4 << 20

_XMP_ORIENTATION = re.compile(
    rb"""tiff:Orientation\s{0,9}=\s{0,9}("[^"]*"|'[^']*')|<tiff:Orientation>[^<]*</tiff:Orientation>"""
)
_XMP_THUMBNAILS = (b"<xmp:Thumbnails", b"</xmp:Thumbnails>"), (b"<xap:Thumbnails", b"</xap:Thumbnails>")
# Where a phone appends a video or a gain map to a JPEG: nothing is appended to the fused image.
_XMP_APPENDED = re.compile(rb"\b(?:Container|GContainer):Directory\b|\bGCamera:(?:MotionPhoto|MicroVideo)\b|\bhdrgm:")


@dataclass(frozen=True)
class Metadata:
    """EXIF, XMP, colour profile and georeference of an image, fit for another image of the same view.

    The orientation (the pixels are upright), thumbnails, maker notes and what describes pixels are left out.
    """

    main: Directory = field(default_factory=dict)
    exif: Directory = field(default_factory=dict)
    gps: Directory = field(default_factory=dict)
    geo: Directory = field(default_factory=dict)
    xmp: bytes | None = None
    icc: bytes | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to keep."""
        return not (self.main or self.exif or self.gps or self.geo or self.xmp or self.icc)

    @property
    def exif_block(self) -> bytes | None:
        """The EXIF as a block that begins like a TIFF, None where there is none."""
        return write_directories(self.main, self.exif, self.gps) if self.main or self.exif or self.gps else None

    def packed(self) -> dict[str, bytes | None]:
        """Return everything as bytes, to be unpacked by `unpack`."""
        geo = write_directories(self.geo, {}, {}) if self.geo else None
        return {"exif": self.exif_block, "geo": geo, "xmp": self.xmp, "icc": self.icc}

    @classmethod
    def unpack(cls, packed: Mapping[str, bytes | None]) -> "Metadata":
        """Undo `packed`."""
        main, exif, gps = read_directories(packed["exif"] or b"")
        return cls(main, exif, gps, read_directories(packed["geo"] or b"")[0], packed["xmp"], packed["icc"])

    def for_channels(self, channels: int) -> "Metadata":
        """Leave out a colour profile that is for grey where the image has colours, or the other way round."""
        fits = self.icc is not None and self.icc[16:20] == (b"GRAY" if channels == 1 else b"RGB ")
        return self if fits else replace(self, icc=None)

    def cropped(self, left: int, top: int) -> "Metadata":
        """Move the georeference to an image that begins at this pixel of the one it was for."""
        geo = dict(self.geo)
        if points := geo.get(_TIE_POINTS):
            values = list(points.numbers())
            for place in range(0, len(values) - 5, 6):
                values[place] -= left
                values[place + 1] -= top
            geo[_TIE_POINTS] = Entry.of_doubles(values)
        if matrix := geo.get(_TRANSFORMATION):
            values = list(matrix.numbers())
            for row in range(0, len(values) - 3, 4):
                values[row + 3] += left * values[row] + top * values[row + 1]
            geo[_TRANSFORMATION] = Entry.of_doubles(values)
        return replace(self, geo=geo)


def read_metadata(data: bytes) -> Metadata:
    """Read the metadata of a PNG, JPEG, WebP or TIFF; damaged parts are left out, and nothing is raised."""
    if data[:2] in (b"II", b"MM"):
        main, exif, gps = read_directories(data)
        xmp, icc = (main[tag].data if tag in main else None for tag in (_XMP, _ICC))
        # Turned pixels no longer lie on the grid of the georeference.
        upright = _ORIENTATION not in main or main[_ORIENTATION].numbers() == (1,)
        geo = {tag: main[tag] for tag in GEO_TAGS & main.keys()} if upright else {}
        return Metadata(_kept(main), _exif(exif), _short(gps), geo, _clean_xmp(xmp), _sound_icc(icc))
    try:
        with open_image(data) as image:
            if image.format == "PNG" and "exif" not in image.info and b"eXIf" in data:
                image.load()  # it may stand behind the pixels
            block, xmp, icc = (image.info.get(name) for name in ("exif", "xmp", "icc_profile"))
            xmp = xmp or image.info.get("XML:com.adobe.xmp")
    except ImageError:
        return Metadata()
    main, exif, gps = read_directories(block.removeprefix(b"Exif\0\0")) if isinstance(block, bytes) else ({}, {}, {})
    return Metadata(_kept(main), _exif(exif), _short(gps), {}, _clean_xmp(xmp), _sound_icc(icc))


def _kept(main: Directory) -> Directory:
    return _short({tag: main[tag] for tag in _KEPT & main.keys()})


def _exif(exif: Directory) -> Directory:
    return _short({tag: entry for tag, entry in exif.items() if tag not in _DROPPED})


def _short(directory: Directory) -> Directory:
    """Leave out long values, and of many the last, so that all fits where the shortest format has room."""
    kept, room = {}, _LONGEST_VALUE
    for tag, entry in sorted(directory.items()):
        room -= 12 + len(entry.data)
        if room < 0:
            break
        kept[tag] = entry
    return kept


def _clean_xmp(xmp: bytes | str | None) -> bytes | None:
    packet = xmp.encode() if isinstance(xmp, str) else xmp
    if not packet or len(packet) > 1 << 20 or _XMP_APPENDED.search(packet):
        return None
    cleaned = _XMP_ORIENTATION.sub(b"", packet).strip(b"\0")
    for start, end in _XMP_THUMBNAILS:
        while (place := cleaned.find(start)) >= 0:
            behind = cleaned.find(end, place)
            if behind < 0:
                return None
            cleaned = cleaned[:place] + cleaned[behind + len(end) :]
    return cleaned if b"<" in cleaned and len(cleaned) <= _LARGEST_XMP else None


def _sound_icc(icc: bytes | None) -> bytes | None:
    """Keep a profile of the length that it says of itself."""
    is_whole = icc is not None and 128 < len(icc) <= _LARGEST_ICC and int.from_bytes(icc[:4], "big") == len(icc)
    return icc if is_whole and icc is not None and icc[36:40] == b"acsp" else None


@dataclass(frozen=True)
class Shot:
    """When, where and with what an image was taken; None where it does not say."""

    taken_at: str | None = None
    """ISO 8601, with an offset from UTC only where the camera wrote one."""
    latitude: float | None = None
    longitude: float | None = None
    """Degrees, positive to the north and the east (WGS 84)."""
    altitude: float | None = None
    """Metres above sea level, or above the ellipsoid where the camera says so."""
    camera: str | None = None
    """Make and model."""

    @property
    def seconds(self) -> float | None:
        """Seconds since 1970 by the camera's own clock: an offset from UTC, which few cameras write, is left aside."""
        if self.taken_at is None:
            return None
        own = self.taken_at[: 26 if self.taken_at[19:20] == "." else 19]
        return datetime.fromisoformat(f"{own}+00:00").timestamp()


def read_shot(metadata: Metadata) -> Shot:
    """Read what an image says of its taking; what makes no sense is None."""
    latitude = _degrees(metadata.gps, 1, 2, b"S", 90)
    longitude = _degrees(metadata.gps, 3, 4, b"W", 180)
    if latitude is None or longitude is None:
        latitude = longitude = None
    return Shot(_taken_at(metadata), latitude, longitude, _altitude(metadata.gps), _camera(metadata.main))


def _degrees(gps: Directory, side: int, tag: int, negative: bytes, most: float) -> float | None:
    values = gps[tag].numbers() if tag in gps else ()
    if not 1 <= len(values) <= 3 or side not in gps:
        return None
    degrees = sum(value / 60**place for place, value in enumerate(values))
    return (-degrees if gps[side].data[:1].upper() == negative else degrees) if 0 <= degrees <= most else None


def _altitude(gps: Directory) -> float | None:
    values = gps[6].numbers() if 6 in gps else ()
    if len(values) != 1 or abs(values[0]) > 1e6:
        return None
    # 1 and 3 mean below the reference.
    return -values[0] if 5 in gps and gps[5].data[:1] in (b"\1", b"\3") else values[0]


def _taken_at(metadata: Metadata) -> str | None:
    exif, main = metadata.exif, metadata.main
    sources = ((exif, 0x9003, 0x9291, 0x9011), (exif, 0x9004, 0x9292, 0x9012), (main, 306, 0x9290, 0x9010))
    for directory, tag, fraction, offset in sources:
        if tag not in directory:
            continue
        try:
            taken = datetime.strptime(directory[tag].text()[:19], "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007 # its clock's time
        except ValueError:
            continue
        digits = exif[fraction].text() if fraction in exif else ""
        part = f".{digits[:6]:0<6}" if digits.isascii() and digits.isdigit() and int(digits) else ""
        zone = exif[offset].text() if offset in exif else ""
        return taken.isoformat() + part + (zone if re.fullmatch(r"[-+](?:0\d|1[0-4]):[0-5]\d", zone) else "")
    return None


def _camera(main: Directory) -> str | None:
    make, model = (_plain(main[tag].text()) if tag in main else "" for tag in (271, 272))
    return (model if model.casefold().startswith(make.casefold()) else f"{make} {model}".strip()) or None


def _plain(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())[:100].strip()
