"""Boxes of people: finding the box files of a set, and parsing them (Pascal VOC's XML or YOLO's lines)."""

import math
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from numpy.typing import NDArray

from pipelines.storage import objects as storage
from upfusion.file_names import is_hidden

FOLDERS = {".xml": "annotations", ".txt": "labels"}
"""The folder (case-insensitive) of box files, by extension."""

PEOPLE_NAMES = ("person", "pedestrian", "people")
PEOPLE_IDS = (0,)

CORNERS = ("xmin", "ymin", "xmax", "ymax")
# Corners on the edge of an image may be written as 1.0000001.
ROUNDING = 1e-3
LEAST_VISIBLE = 0.5
"""Of a person less of whom is in a crop, nobody can ask that they be found."""


@dataclass(frozen=True)
class FoundBoxes:
    """The box file of each pair."""

    uris: dict[str, str]
    """URI of the box file by pair_id."""
    ambiguous: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """URIs that were skipped, with the pair_ids they could belong to."""


@dataclass(frozen=True, eq=False)
class People:
    """The people in one image."""

    boxes: NDArray[np.float64]
    """`(N, 4)`: x1, y1, x2, y2 in pixels from the upper left corner, within the image."""
    difficult: NDArray[np.bool_]
    """`(N,)`: which of them are difficult, so that detecting them is neither required nor wrong."""

    def within(self, left: int, top: int, width: int, height: int) -> "People":
        """Return the people in a crop of the image, in its pixels; those who are mostly cut off are difficult."""
        moved = self.boxes - (left, top, left, top)
        boxes = moved.clip(0, (width, height, width, height))
        kept, whole = ((part[:, 2] - part[:, 0]) * (part[:, 3] - part[:, 1]) for part in (boxes, moved))
        return People(boxes[kept > 0], (self.difficult | (kept < LEAST_VISIBLE * whole))[kept > 0])


def find_boxes(source_uri: str, pair_ids: Collection[str]) -> FoundBoxes:
    """Find the box files below a set's folder or prefix: `Annotations/**/NAME.xml` and `**/labels/**/NAME.txt`.

    A file's path below the set, without that folder and its suffix, is the pair_id, or differs from exactly one of
    them in folders that one of both lacks: `Annotations/190001.xml` has the boxes of `test/190001` unless there is a
    `train/190001`, and `train/labels/7.txt` never has those of `test/7`. So `pair_ids` must be all of the set. The
    same path goes before a shorter or longer one, and then XML before YOLO's lines. Raises OSError when the folder
    cannot be listed.
    """
    by_name = defaultdict(list)
    for pair_id in pair_ids:
        by_name[PurePosixPath(pair_id).name].append(pair_id)
    claims: dict[str, dict[tuple[bool, bool], list[str]]] = defaultdict(lambda: defaultdict(list))
    ambiguous = {}
    for uri, path in _box_files(source_uri):
        owners = _owners(path, by_name[path.name])
        if not owners:  # ids are Unicode-normalized (NFC), macOS stores names decomposed (NFD)
            path = PurePosixPath(unicodedata.normalize("NFC", str(path)))
            owners = _owners(path, by_name[path.name])
        if len(owners) > 1:
            ambiguous[uri] = tuple(sorted(owners))
        for pair_id in owners if len(owners) == 1 else ():
            claims[pair_id][str(path) != pair_id, not uri.lower().endswith(".xml")].append(uri)
    uris = {}
    for pair_id, ranks in sorted(claims.items()):
        best = ranks[min(ranks)]
        if len(best) == 1:
            uris[pair_id] = best[0]
        else:
            ambiguous |= dict.fromkeys(best, (pair_id,))
    return FoundBoxes(uris, ambiguous)


def parse_boxes(
    data: bytes,
    name: str,
    width: int,
    height: int,
    people_names: Collection[str] = PEOPLE_NAMES,
    people_ids: Collection[int] = PEOPLE_IDS,
) -> People:
    """Read the people in a box file; `name` tells the format by its suffix (`.xml` or `.txt`) and is named in errors.

    `width` and `height` are the image's, to which boxes are clipped; one that lies outside is left out. VOC's objects
    count as people by `people_names` (in any case), YOLO's by `people_ids`. VOC's corners are taken as they stand, not
    shifted by the one pixel that Pascal's own count from. A YOLO file without lines is an image without people.
    Raises ValueError, naming file and line or object, when the file is malformed or was made for another size.
    """
    if name.lower().endswith(".xml"):
        names = {one.lower() for one in people_names}
        found = [(corners, hard) for label, corners, hard in _voc(data, name, width, height) if label in names]
    else:
        found = [(corners, False) for label, corners in _yolo(data, name) if label in people_ids]
        found = [(corners * (width, height, width, height), hard) for corners, hard in found]
    boxes = np.array([corners for corners, _ in found], np.float64).reshape(-1, 4)
    boxes = boxes.clip(0, (width, height, width, height))
    inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return People(boxes[inside], np.array([hard for _, hard in found], np.bool_)[inside])


def _box_files(source_uri: str) -> Iterator[tuple[str, PurePosixPath]]:
    """Yield the URI of every box file with its path below the set, less suffix and the folder of boxes."""
    depth = len(storage.absolute(source_uri).split("/"))
    for uri in storage.list_files(source_uri):
        path = PurePosixPath(*uri.split("/")[depth:])
        if is_hidden(str(path)):
            continue
        folders = [part.lower() for part in path.parts[:-1]]
        folder = FOLDERS.get(path.suffix.lower())
        if folder in folders:
            innermost = len(folders) - 1 - folders[::-1].index(folder)
            parts = path.with_suffix("").parts
            yield uri, PurePosixPath(*parts[:innermost], *parts[innermost + 1 :])


def _owners(path: PurePosixPath, namesakes: list[str]) -> list[str]:
    if str(path) in namesakes:
        return [str(path)]
    return [one for one in namesakes if _within(path.parts, one.split("/")) or _within(one.split("/"), path.parts)]


def _within(short: Iterable[str], long: Iterable[str]) -> bool:
    """Tell whether one path is another with some folders removed."""
    rest = iter(long)
    return all(part in rest for part in short)


def _voc(data: bytes, name: str, width: int, height: int) -> Iterator[tuple[str, NDArray[np.float64], bool]]:
    root = _parse_xml(data, name)
    if root.tag != "annotation":
        raise ValueError(f"{name}, line 1: expected VOC's <annotation>, got <{root.tag}>")
    size = root.find("size")
    if size is not None:
        stated = [int(_number(size, side, f"{name}, <size>")) for side in ("width", "height")]
        if stated != [width, height]:
            raise ValueError(f"{name} was made for an image of {stated[0]}x{stated[1]} pixels, not {width}x{height}")
    for number, thing in enumerate(root.findall("object"), 1):
        where = f"{name}, object {number}"
        box = thing.find("bndbox")
        if box is None:
            raise ValueError(f"{where} has no <bndbox>")
        corners = _checked([_number(box, corner, where) for corner in CORNERS], where)
        hard = thing.findtext("difficult", "0").strip() == "1"
        yield thing.findtext("name", "").strip().lower(), corners, hard


def _parse_xml(data: bytes, name: str) -> Element:
    """Parse an untrusted file; a DOCTYPE, and with it every entity, is refused. VOC has none.

    Bytes that are not UTF-8 are in names and paths, which are not used.
    """
    try:
        root: Element = fromstring(data.decode("utf-8-sig", errors="replace"), forbid_dtd=True)
    except DefusedXmlException as error:
        raise ValueError(f"{name}: a DOCTYPE is not allowed in a box file") from error
    except ParseError as error:
        raise ValueError(f"{name}, line {error.position[0]}: this is not XML ({error})") from error
    return root


def _number(parent: Element, tag: str, where: str) -> float:
    text = parent.findtext(tag)
    value = _float(text or "")
    if value is None:
        raise ValueError(f"{where}: expected a number in <{tag}>, got {text!r}")
    return value


def _yolo(data: bytes, name: str) -> Iterator[tuple[int, NDArray[np.float64]]]:
    for number, line in enumerate(data.decode("utf-8-sig", errors="replace").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        where = f"{name}, line {number}"
        values = [value for value in map(_float, words) if value is not None]
        if len(words) != 5 or len(values) != 5 or values[0] != int(values[0]):
            raise ValueError(f"{where}: expected `class x y width height`, got {line.strip()[:80]!r}")
        label, x, y, w, h = values
        if min(x, y, w, h) < 0 or max(x, y, w, h) > 1 + ROUNDING:
            raise ValueError(f"{where}: expected shares of the image from 0 to 1, got {line.strip()[:80]!r}")
        yield int(label), _checked([x - w / 2, y - h / 2, x + w / 2, y + h / 2], where)


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _checked(corners: list[float], where: str) -> NDArray[np.float64]:
    x1, y1, x2, y2 = corners
    if x1 >= x2 or y1 >= y2:
        raise ValueError(f"{where}: the box has no area (x {x1:g} to {x2:g}, y {y1:g} to {y2:g})")
    return np.array(corners)
