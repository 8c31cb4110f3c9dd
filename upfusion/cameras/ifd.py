"""Tag directories of TIFF and EXIF: read as raw entries within bounds, and written again.

Entries keep their type and bytes, in little-endian order whatever the file has, so that a tag that this project knows
nothing about survives unchanged (TIFF 6.0, section 2; EXIF 3.0, section 4.6).
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DESCRIPTION = 270
EXIF_IFD, GPS_IFD = 0x8769, 0x8825
"""Tags of a main directory that point to the directories of EXIF and GPS."""

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WORDS = {5: 4, 10: 4}  # rationals are swapped by half
_FORMATS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_MOST_ENTRIES = 4096
LARGEST_ENTRY = 16 << 20
"""Bytes of the longest value that is read; a longer one is left out."""


@dataclass(frozen=True)
class Entry:
    """The value of one tag: its TIFF type, and its bytes in little-endian order."""

    kind: int
    data: bytes

    @classmethod
    def of_doubles(cls, values: Sequence[float]) -> "Entry":
        """Make an entry of 64-bit floats."""
        return cls(12, struct.pack(f"<{len(values)}d", *values))

    @classmethod
    def of_text(cls, text: str) -> "Entry":
        """Make an entry of text."""
        return cls(2, text.encode() + b"\0")

    @property
    def count(self) -> int:
        """How many values of its type the entry has."""
        return len(self.data) // _SIZES[self.kind]

    def numbers(self) -> tuple[float, ...]:
        """Return the values as numbers; rationals are divided, a division by zero and text give nothing."""
        if self.kind in (5, 10):
            halves = struct.unpack(f"<{2 * self.count}{'I' if self.kind == 5 else 'i'}", self.data)
            pairs = list(zip(halves[::2], halves[1::2], strict=True))
            return tuple(top / bottom for top, bottom in pairs) if all(bottom for _, bottom in pairs) else ()
        if self.kind not in _FORMATS:
            return ()
        return struct.unpack(f"<{self.count}{_FORMATS[self.kind]}", self.data)

    def text(self) -> str:
        """Return the value as text up to its first zero byte, without surrounding blanks."""
        return self.data.split(b"\0", 1)[0].decode("utf-8", "replace").strip()


Directory = dict[int, Entry]
"""Entries by tag."""


@dataclass(frozen=True)
class _Layout:
    order: str
    big: bool

    def number(self, data: bytes, place: int, size: int) -> int:
        return int.from_bytes(data[place : place + size], "little" if self.order == "<" else "big")


def read_directories(data: bytes) -> tuple[Directory, Directory, Directory]:
    """Return the main directory, that of EXIF and that of GPS of a TIFF file, or of an EXIF block that begins like one.

    What lies outside `data`, is of an unknown type or is longer than 16 MiB is left out; nothing is raised, whatever
    the bytes are, and at most twice their size is copied per directory. A missing directory is empty.
    """
    layout = _layout_of(data)
    if layout is None:
        return {}, {}, {}
    main = _read(data, layout, layout.number(data, 8 if layout.big else 4, 8 if layout.big else 4))
    below = []
    for pointer in (EXIF_IFD, GPS_IFD):
        place = main.pop(pointer, None)
        values = place.numbers() if place else ()
        below.append(_read(data, layout, int(values[0])) if values else {})
    return main, below[0], below[1]


def _layout_of(data: bytes) -> _Layout | None:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return None
    version = _Layout(order, False).number(data, 2, 2)
    return _Layout(order, version == 43) if version in (42, 43) else None


def _read(data: bytes, layout: _Layout, place: int) -> Directory:
    counting, size, inline, word = (8, 20, 8, 8) if layout.big else (2, 12, 4, 4)
    if not 0 < place <= len(data) - counting:
        return {}
    found: Directory = {}
    # Every entry may name the same bytes: all of them together are no longer than the file, and some slack.
    left = 2 * len(data) + LARGEST_ENTRY
    for number in range(min(layout.number(data, place, counting), _MOST_ENTRIES)):
        entry = place + counting + size * number
        if entry + size > len(data):
            break
        tag, kind = layout.number(data, entry, 2), layout.number(data, entry + 2, 2)
        if kind not in _SIZES or tag in found:
            continue
        length = layout.number(data, entry + 4, word) * _SIZES[kind]
        start = entry + 4 + word if length <= inline else layout.number(data, entry + 4 + word, word)
        if not 0 < length <= min(LARGEST_ENTRY, left) or start + length > len(data):
            continue
        left -= length
        found[tag] = Entry(kind, _to_little(data[start : start + length], kind, layout.order))
    return found


def _to_little(value: bytes, kind: int, order: str) -> bytes:
    size = _WORDS.get(kind, _SIZES[kind])
    if order == "<" or size == 1:
        return value
    return b"".join(value[place : place + size][::-1] for place in range(0, len(value), size))


def write_directories(main: Mapping[int, Entry], exif: Mapping[int, Entry], gps: Mapping[int, Entry]) -> bytes:
    """Write an EXIF block (a little-endian TIFF without pixels)."""
    return b"II*\0" + struct.pack("<I", 8) + lay_out(main, exif, gps, 8)


def lay_out(main: Mapping[int, Entry], exif: Mapping[int, Entry], gps: Mapping[int, Entry], place: int) -> bytes:
    """Return the bytes of a main directory, and of those it points to, that will lie at an even `place` of a file."""
    below = {tag: directory for tag, directory in ((EXIF_IFD, exif), (GPS_IFD, gps)) if directory}
    pointers = {tag: Entry(4, bytes(4)) for tag in below}
    start = place + len(_directory({**main, **pointers}, place))
    written = b""
    for tag, directory in below.items():
        pointers[tag] = Entry(4, struct.pack("<I", start + len(written)))
        written += _directory(directory, start + len(written))
    return _directory({**main, **pointers}, place) + written


def _directory(entries: Mapping[int, Entry], place: int) -> bytes:
    """Write a directory without a next one, with its longer values behind it."""
    table, values = b"", b""
    behind = place + 2 + 12 * len(entries) + 4
    for tag, entry in sorted(entries.items()):
        value = entry.data
        if len(value) > 4:
            value = struct.pack("<I", behind + len(values))
            values += entry.data + bytes(len(entry.data) % 2)
        table += struct.pack("<HHI", tag, entry.kind, entry.count) + value.ljust(4, b"\0")
    return struct.pack("<H", len(entries)) + table + bytes(4) + values
