"""The application segments of a JPEG, walked within bounds and without decoding anything."""

from collections.abc import Iterator

# A camera's file has a few dozen; one segment takes a microsecond to pass over.
_MOST_SEGMENTS = 10_000
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment's payload before the first scan; nothing for what is no JPEG.

    The first kilobytes of a file may be given: the last segment's end may lie beyond `data`. Payloads never overlap.
    """
    if data[:3] != b"\xff\xd8\xff":
        return
    place = 2
    for _ in range(_MOST_SEGMENTS):
        while data[place : place + 2] == b"\xff\xff":  # fill bytes
            place += 1
        if place + 2 > len(data) or data[place] != 0xFF:
            return
        marker, place = data[place + 1], place + 2
        if marker in _WITHOUT_LENGTH:
            continue
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            return
        length = int.from_bytes(data[place : place + 2], "big")
        if length < 2 or place + 2 > len(data):
            return
        yield marker, place + 2, place + length
        place += length
