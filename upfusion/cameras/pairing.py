"""Pairing files by what cameras call them: by name, by the number of the shot, or by time; one to one."""

import heapq
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from upfusion.cameras.file_names import FileName, Sensor, read_name

Method = Literal["name", "number", "time"]
FolderOf = Callable[[str], tuple[Sensor, str] | None]
"""The side that a file's folder tells, and the path of the folder without what told it; None where it tells nothing."""

DEFAULT_SECONDS = 2.0
"""How far apart two images of one shot may be by their times, unless `time:SECONDS` says otherwise."""

_BY = re.compile(r"(name|number|time)(?::(\d+(?:\.\d+)?))?")


@dataclass(frozen=True)
class PairBy:
    """What `--pair-by` asks for."""

    method: Method
    seconds: float = DEFAULT_SECONDS

    @classmethod
    def parse(cls, text: str) -> "PairBy":
        """Read `name`, `number`, `time` or `time:SECONDS`; raises ValueError."""
        match = _BY.fullmatch(text)
        if match is None or (match[2] and match[1] != "time"):
            raise ValueError(f"expected name, number, time or time:SECONDS (time:1.5), got {text!r}")
        return cls(match[1], float(match[2]) if match[2] else DEFAULT_SECONDS)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Paired:
    """Which files belong together."""

    pairs: list[tuple[str, str]]
    """(A, B), in order of A."""
    leftovers: list[str] = field(default_factory=list)
    """Files without a partner, doubles of a shot, and files whose side nothing tells; sorted."""
    ignored: list[str] = field(default_factory=list)
    """Files of a third sensor (a zoom camera), sorted."""


@dataclass
class _Group:
    """Files among which partners are looked for."""

    a: list[str] = field(default_factory=list)
    b: list[str] = field(default_factory=list)
    unmarked: list[str] = field(default_factory=list)


def pair_files(
    files: Sequence[str], by: PairBy, *, folder_of: FolderOf | None = None, taken: Mapping[str, float] | None = None
) -> Paired:
    """Pair the files (paths with `/`) of two folders, or of one.

    `folder_of` tells by its folder whose image a file is; where it gives None, the name tells, among the files of one
    folder. Where only one side is marked in the names of a folder (`DJI_0001.JPG` beside `DJI_0001_R.JPG`), the
    unmarked ones are the other side. `taken` has seconds since 1970 out of EXIF, which go before the time in a name.
    """
    names = {file: read_name(_stem(file)) for file in files}
    groups: dict[tuple[str, str], _Group] = defaultdict(_Group)
    ignored = []
    for file in sorted(files, key=_preferred_first):
        told = folder_of(file) if folder_of else None
        sensor = told[0] if told else names[file].sensor
        if told:
            # The clocks of two cameras agree; how they divide shots into folders need not.
            group = groups["folders", "" if by.method == "time" else told[1]]
        elif names[file].other:
            ignored.append(file)
            continue
        else:
            group = groups["names", file.rpartition("/")[0]]
        (group.unmarked if sensor is None else group.a if sensor == "a" else group.b).append(file)
    pairs = []
    for group in groups.values():
        pairs += _pair_group(group, names, by, taken or {})
    together = {file for pair in pairs for file in pair}
    return Paired(sorted(pairs), sorted(set(files) - together - set(ignored)), sorted(ignored))


def _stem(file: str) -> str:
    name = file.rpartition("/")[2]
    stem, dot, _ = name.rpartition(".")
    return stem if dot else name


def _preferred_first(file: str) -> tuple[bool, str]:
    """Put the TIFF of a shot before its JPEG: it has the sensor's values."""
    return not file.lower().endswith((".tif", ".tiff")), file


def _pair_group(
    group: _Group, names: Mapping[str, FileName], by: PairBy, taken: Mapping[str, float]
) -> list[tuple[str, str]]:
    a, b = group.a, group.b
    if not a or not b:
        a, b = a or group.unmarked, b or group.unmarked
    if a is b:
        return []
    if by.method == "name":
        return _equal(_by_key(a, lambda file: names[file].rest), _by_key(b, lambda file: names[file].rest))
    if by.method == "number":
        return _equal_or_following(*(_by_key(files, lambda file: names[file].number) for files in (a, b)))
    times_a, times_b = (
        {file: time for file in files if (time := taken.get(file, names[file].taken)) is not None} for files in (a, b)
    )
    return nearest_pairs(times_a, times_b, by.seconds)


Key = str | int


def _by_key(files: Sequence[str], key_of: Callable[[str], Key | None]) -> dict[Key, list[str]]:
    found: dict[Key, list[str]] = defaultdict(list)
    for file in files:
        key = key_of(file)
        if key is not None:
            found[key].append(file)
    return found


def _equal(a: Mapping[Key, list[str]], b: Mapping[Key, list[str]]) -> list[tuple[str, str]]:
    """Pair the files of equal keys; of a shot that is there twice (a card copied twice), the first of each."""
    return [(a[key][0], b[key][0]) for key in a.keys() & b.keys()]


def _equal_or_following(a: Mapping[Key, list[str]], b: Mapping[Key, list[str]]) -> list[tuple[str, str]]:
    """Pair equal numbers or, where none are equal, those that follow each other.

    FLIR's cameras number both images of a shot in turn, the first by an odd number (IR_0497, DC_0498).
    """
    if a.keys() & b.keys():
        return _equal(a, b)
    b_first, a_first = (_equal(a, {int(number) - step: files for number, files in b.items()}) for step in (-1, 1))
    odd_a, odd_b = ({int(number) % 2 for number in side} for side in (a, b))
    if odd_a != odd_b and len(odd_a) == len(odd_b) == 1:
        return a_first if odd_a == {1} else b_first
    return max(b_first, a_first, key=len)


def nearest_pairs(a: Mapping[str, float], b: Mapping[str, float], most: float) -> list[tuple[str, str]]:
    """Pair values that differ by at most `most`, each once, the nearest first; of equally near ones the earlier.

    The nearest two of different sides are neighbours among all values that are left, so n values take n log n steps.
    """
    every = sorted([(value, 0, file) for file, value in a.items()] + [(value, 1, file) for file, value in b.items()])
    before = list(range(-1, len(every) - 1))
    after = list(range(1, len(every) + 1))
    heap: list[tuple[float, int, int]] = []

    def consider(left: int, right: int) -> None:
        if left >= 0 and right < len(every) and every[left][1] != every[right][1]:
            apart = every[right][0] - every[left][0]
            if apart <= most:
                heapq.heappush(heap, (apart, left, right))

    for place in range(len(every) - 1):
        consider(place, place + 1)
    pairs, used = [], set[int]()
    while heap:
        _, left, right = heapq.heappop(heap)
        if left in used or right in used:
            continue
        used |= {left, right}
        first, second = sorted((every[left], every[right]), key=lambda value: value[1])
        pairs.append((first[2], second[2]))
        outer_left, outer_right = before[left], after[right]
        if outer_left >= 0:
            after[outer_left] = outer_right
        if outer_right < len(every):
            before[outer_right] = outer_left
        consider(outer_left, outer_right)
    return pairs
