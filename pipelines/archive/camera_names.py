"""Places in pairs for files whose names or contents say more than their folders: of cameras and public data sets."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Literal

from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage
from upfusion.cameras.layouts import (
    LARGEST_PARTNERS_FILE,
    PARTNERS_FILE,
    PARTNERS_FOLDERS,
    SECOND_CHOICE,
    parse_partners,
)
from upfusion.cameras.metadata import read_metadata, read_shot
from upfusion.cameras.pairing import PairBy, pair_files
from upfusion.cameras.radiometric import radiometric_kind

Side = Literal["a", "b"]
Placement = tuple[str, Side, str | None]
"""Where a file belongs: pair_id, side, and the task where its folder says it."""
ByFolder = Callable[[str], Placement | None]

_AT_ONCE = 32
_HEAD = 1 << 17  # EXIF takes up to 64 KiB, and its time stands before its thumbnail
_WHOLE = 1_000_000_000  # bytes; as --max-file-mb has it by default
_JPEGS = (".jpg", ".jpeg")


def places_by_camera(
    names: Mapping[str, str], by: PairBy, by_folder: ByFolder
) -> tuple[dict[str, Placement], list[str]]:
    """Place images (their names below SOURCE, with their URIs) by what cameras call them.

    Returns the places by name, and what is of a third sensor. The id of a pair is A's folder and name.
    """

    def folder_of(name: str) -> tuple[Side, str] | None:
        place = by_folder(name)
        return None if place is None else (place[1], place[0].rpartition("/")[0])

    taken = _times(names) if by.method == "time" else {}
    found = pair_files(list(names), by, folder_of=folder_of, taken=taken)
    places: dict[str, Placement] = {}
    for a, b in found.pairs:
        placed = by_folder(a)
        pair_id = placed[0] if placed else a[: len(a) - len(PurePosixPath(a).suffix)]
        task = (by_folder(b) or (None, None, None))[2] or (placed[2] if placed else None)
        places |= {a: (pair_id, "a", task), b: (pair_id, "b", task)}
    return places, found.ignored


def _times(names: Mapping[str, str]) -> dict[str, float]:
    """Read when images were taken by their EXIF, as far as that is there."""

    def read(name: str) -> tuple[str, float | None]:
        try:
            head = storage.read_head(names[name], _HEAD)
            seconds = read_shot(read_metadata(head)).seconds
            if seconds is None and len(head) == _HEAD and head[:2] in (b"II", b"MM"):
                # A TIFF often has its tags at its end.
                seconds = read_shot(read_metadata(storage.read_head(names[name], _WHOLE))).seconds
        except OSError:
            seconds = None
        return name, seconds

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return {name: seconds for name, seconds in pool.map(read, names) if seconds is not None}


def find_radiometric(names: Mapping[str, str]) -> list[str]:
    """Return the names of FLIR radiometric JPEGs, each of which is a pair by itself."""

    def is_one(name: str) -> bool:
        try:
            return radiometric_kind(storage.read_head(names[name], _HEAD)) == "flir"
        except OSError:
            return False

    candidates = sorted(name for name in names if name.lower().endswith(_JPEGS))
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return [name for name, found in zip(candidates, pool.map(is_one, candidates), strict=True) if found]


def second_choices(names: Mapping[str, str]) -> set[str]:
    """Return images that are left out because another folder has the same shot (FLIR ADAS' two thermal ones)."""
    folders = {name.rpartition("/")[0] for name in names}
    if not any(folder.rpartition("/")[2].lower() in SECOND_CHOICE for folder in folders):
        return set()
    paths = {name: PurePosixPath(name) for name in names}
    shots = {(path.parent.as_posix().lower(), path.stem) for path in paths.values()}
    left_out = set()
    for name, path in paths.items():
        other = SECOND_CHOICE.get(path.parent.name.lower())
        if other and (path.parent.with_name(other).as_posix().lower(), path.stem) in shots:
            left_out.add(name)
    return left_out


def partners_by_table(names: Mapping[str, str]) -> dict[str, Placement]:
    """Place the images of FLIR ADAS 2's video sets by the table of partners that lies beside them."""
    table = next((name for name in names if name.rpartition("/")[2] == PARTNERS_FILE), None)
    if table is None:
        return {}
    try:
        partners = parse_partners(storage.read_head(names[table], LARGEST_PARTNERS_FILE))
    except ValueError as error:
        raise UsageError(f"{names[table]}: {error}") from error
    thermal = {b: a for a, b in partners.items()}
    places: dict[str, Placement] = {}
    for name in names:
        path = PurePosixPath(name)
        folder = next((part.lower() for part in path.parts[:-1] if part.lower() in PARTNERS_FOLDERS), None)
        if folder is None or name == table:
            continue
        side: Side = PARTNERS_FOLDERS[folder]
        known = path.name if side == "a" and path.name in partners else thermal.get(path.name)
        if known is not None:
            places[name] = (PurePosixPath(known).stem, side, None)
    return places
