"""What names of camera files say: which sensor, which shot, and when.

Cameras that take a visible and a thermal image of one shot name them by a letter at the end (`DJI_0001_T.JPG` beside
`DJI_0001_W.JPG`), by a prefix (`MAX_0012.JPG`, `IRX_0012.TIF`), by an odd and an even number (FLIR), or by times that
lie a second apart.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

Sensor = Literal["a", "b"]

# Words and letters that stand for a sensor, as a whole part of a name. Letters count at the end alone (DJI, Parrot).
_A_WORDS = frozenset(
    {"vis", "visible", "rgb", "wide", "eo", "color", "colour", "optical", "photo", "visual", "max", "dc"}
)
_B_WORDS = frozenset({"ir", "thermal", "infrared", "therm", "lwir", "tir", "irx", "radiometric", "thm"})
_OTHER_WORDS = frozenset({"zoom", "night", "nir", "red", "green", "blue", "edge", "ms", "dc2", "uv"})
_A_LETTERS, _B_LETTERS, _OTHER_LETTERS = frozenset("vw"), frozenset("tr"), frozenset("zsmnd")
_PARTS = re.compile(r"[A-Za-z]+|\d+")
_TIME = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])[-_ T.]{0,3}"
    r"([01]\d|2[0-3])[-_:.hH]?([0-5]\d)[-_:.mM]?([0-5]\d)(?:[-_.]?(\d{3}))?(?!\d)"
)
_NUMBER = re.compile(r"\d+")
# Bi-spectrum cameras on a network (Hikvision, Dahua) name channels; the first is the visible one.
_CHANNEL = re.compile(r"(?<![a-z])(?:ch|cam|channel)[-_]?0*([12])(?!\d)", re.IGNORECASE)


@dataclass(frozen=True)
class FileName:
    """What the name of one file says."""

    stem: str
    sensor: Sensor | None
    """Whose image it is; None where the name does not say."""
    other: bool
    """Whether it is of a third sensor (zoom, near infrared), which is no side of a pair."""
    rest: str
    """The name without what stands for the sensor, in lower case: equal for two images of one shot (`name`)."""
    number: int | None
    """The number of the shot: the last run of digits that is no part of a time."""
    taken: float | None
    """Seconds since 1970 of the time in the name, taken for UTC; None where there is none."""


def read_name(stem: str) -> FileName:
    """Read the name of a file, without its folders and its suffix."""
    time = _TIME.search(stem)
    outside = stem if time is None else stem[: time.start()] + "~" + stem[time.end() :]
    numbers = _NUMBER.findall(outside)
    sensor, other, rest = _sensor_of(stem)
    return FileName(stem, sensor, other, rest, int(numbers[-1]) if numbers else None, _seconds(time))


def _sensor_of(stem: str) -> tuple[Sensor | None, bool, str]:
    """Find the part of a name that stands for a sensor: the last word, a letter at its very end, or a channel."""
    parts = [(match[0].lower(), match.span()) for match in _PARTS.finditer(stem)]
    for position in range(len(parts) - 1, -1, -1):
        word, (start, end) = parts[position]
        at_end = end == len(stem) and start > 0 and len(word) == 1
        if word in _A_WORDS or (at_end and word in _A_LETTERS):
            return "a", False, _without(stem, start, end)
        if word in _B_WORDS or (at_end and word in _B_LETTERS):
            return "b", False, _without(stem, start, end)
        if word in _OTHER_WORDS or (at_end and word in _OTHER_LETTERS):
            return None, True, _without(stem, start, end)
    if channel := _CHANNEL.search(stem):
        return ("a" if channel[1] == "1" else "b"), False, _without(stem, *channel.span())
    return None, False, _without(stem, len(stem), len(stem))


def _without(stem: str, start: int, end: int) -> str:
    return re.sub(r"[-_. ]+", "_", f"{stem[:start]}_{stem[end:]}").strip("_").lower()


def _seconds(time: re.Match[str] | None) -> float | None:
    if time is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in time.groups()[:6])
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:  # the 31st of February
        return None
    return moment.timestamp() + int(time[7] or 0) / 1000
