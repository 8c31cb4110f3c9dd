"""Which side of which pair a file belongs to, by its name below SOURCE."""

import re
import unicodedata
from collections.abc import Callable
from pathlib import PurePosixPath

from pipelines.archive import formats as footage
from pipelines.archive.camera_names import Placement, Side, partners_by_table, places_by_camera, second_choices
from pipelines.archive.config import ArchiveConfig
from pipelines.archive.sensor_names import SENSORS
from upfusion.cameras.pairing import PairBy
from upfusion.file_names import SUFFIXES, is_hidden, is_image_name

STAR = re.compile(r"(\*\*/|\*\*|\*|\?)")


def place_files(names: dict[str, str], archive: ArchiveConfig) -> Callable[[str], Placement | None]:
    """Return what places a file by its name below SOURCE."""
    if archive.a is not None and archive.b is not None:
        return _by_pattern(archive.a, archive.b)
    uris = {name: uri for uri, name in names.items() if not is_hidden(name)}
    images = {name: uri for name, uri in uris.items() if is_image_name(name)}
    if archive.pair_by is not None:
        placed, third = places_by_camera(images, PairBy.parse(archive.pair_by), _by_folder)
        for name in images.keys() - placed.keys() - set(third):
            placed[name] = (f"{name} without a partner", "a", None)  # a place of its own, to be listed
        return lambda name: placed.get(name) if name in images else _by_folder(name)
    left_out, by_table = second_choices(images), partners_by_table(uris)
    return lambda name: None if name in left_out else by_table.get(name) or _by_folder(name)


def _by_folder(name: str) -> Placement | None:
    """Assign a file by the last folder of its relative path that names a sensor; `a` and `b` only if none does."""
    *folders, _ = PurePosixPath(name).parts
    known = [position for position, folder in enumerate(folders) if folder.lower() in SENSORS]
    if not known:
        return None
    sensors = [position for position in known if len(folders[position]) > 1]
    position = (sensors or known)[-1]
    side, task = SENSORS[folders.pop(position).lower()]
    return "/".join([*folders, PurePosixPath(name).stem]), side, task


def by_key(name: str) -> Placement | None:
    """Assign a member of a WebDataset, key.SENSOR.jpg, by what follows its key."""
    folder, slash, file = name.rpartition("/")
    key, *extension = file.split(".")
    if len(extension) < 2 or not key or extension[0].lower() not in SENSORS:
        return None
    side, task = SENSORS[extension[0].lower()]
    return folder + slash + key, side, task


def _by_pattern(a: str, b: str) -> Callable[[str], Placement | None]:
    """Assign a file by what the wildcards of a pattern match; if both patterns match, by the more specific one."""
    sides: list[tuple[Side, str]] = [("a", a), ("b", b)]
    sides.sort(key=lambda side: -len(STAR.sub("", side[1])))
    patterns = [(side, _compile(pattern)) for side, pattern in sides]

    def place(name: str) -> Placement | None:
        for side, pattern in patterns:
            if match := pattern.fullmatch(name):
                pair_id = "/".join(group.strip("/") for group in match.groups() if group)
                suffix = PurePosixPath(pair_id).suffix
                known = suffix.lower() in SUFFIXES | footage.SUFFIXES
                return (pair_id.removesuffix(suffix) if known else pair_id) or "pair", side, None
        return None

    return place


def _compile(pattern: str) -> re.Pattern[str]:
    """Compile `cam1/**/*.jpg` to a regular expression with one group per wildcard."""
    parts = {"**/": "(.*/)?", "**": "(.*)", "*": "([^/]*)", "?": "([^/])"}
    pieces = STAR.split(unicodedata.normalize("NFC", pattern).removeprefix("./").lstrip("/"))
    return re.compile("".join(parts.get(piece, re.escape(piece)) for piece in pieces), re.DOTALL)
