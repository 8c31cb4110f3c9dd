"""Rigs from files, and views of an archive's pairs to estimate them from."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from pipelines.archive.formats import is_recording
from pipelines.archive.load import SourceError, read_sources
from pipelines.errors.exceptions import UsageError
from pipelines.errors.failures import Row
from pipelines.errors.redaction import redact
from pipelines.storage import objects as storage
from upfusion.image_guard import MAX_PIXELS, quiet_pillow
from upfusion.images import ImageError, image_size
from upfusion.registration.calibration import read_rig
from upfusion.registration.camera_names import camera_of
from upfusion.registration.coordinates import Size
from upfusion.registration.rig import RigError
from upfusion.registration.rig_set import RigSet
from upfusion.registration.views import PairOfViews, view

HEAD = 1 << 16
_TOGETHER = 8
Item = TypeVar("Item")


@dataclass(frozen=True)
class Viewed:
    """A pair of images that registration has looked at."""

    pair_id: str
    views: PairOfViews


def read_rigs(place: str, pairs: pa.Table) -> RigSet:
    """Read rigs or a calibration; sizes that it does not name are those of the first pair of images.

    Raises UsageError that says what is wrong with the file.
    """
    uri, at, distance = place.rpartition("@")
    if not at or not distance.replace(".", "", 1).isdigit():
        uri, distance = place, ""
    try:
        data = storage.read_bytes(storage.absolute(uri))
    except OSError as error:
        raise UsageError(f"--rig {uri} cannot be read: {redact(str(error.strerror or error))}") from error
    try:
        if uri.lower().endswith(".json") and b'"rigs"' in data:
            return RigSet.from_json(data.decode("utf-8", "replace"))
        named = f"{uri}@{distance}" if distance else uri
        try:
            return RigSet.single(read_rig(data, named))
        except RigError as error:
            if "does not name the sizes" not in str(error):
                raise
        return RigSet.single(read_rig(data, named, *_sizes_of_first(pairs)))
    except RigError as error:
        raise UsageError(f"--rig {error}") from error


def by_camera(pairs: pa.Table, count: int, per: str | None = None) -> dict[str, pa.Table]:
    """Return some pairs of each camera: `count` pairs of images, and as many of recordings, at most, evenly spread."""
    rows: dict[str, tuple[list[int], list[int]]] = {}
    columns = (pairs[name].to_pylist() for name in ("pair_id", "a_uri", "b_uri"))
    for number, (pair_id, *uris) in enumerate(zip(*columns, strict=True)):
        images, recordings = rows.setdefault(camera_of(pair_id, per), ([], []))
        (recordings if any(map(is_recording, uris)) else images).append(number)
    chosen = {camera: [*_evenly(images, count), *_evenly(others, count)] for camera, (images, others) in rows.items()}
    return {camera: pairs.take(chosen[camera]) for camera in sorted(chosen)}


def spread(pairs: pa.Table, count: int) -> list[Row]:
    """Choose pairs of images spread evenly over an archive, `count` at most."""
    rows: list[Row] = pairs.select(["pair_id", "a_uri", "b_uri", "task"]).to_pylist()
    images = [row for row in rows if not is_recording(row["a_uri"]) and not is_recording(row["b_uri"])]
    return _evenly(images, count)


def load_views(pairs: Sequence[Row], max_pixels: int = MAX_PIXELS) -> list[Viewed]:
    """Fetch, decode and reduce pairs of images, a few at a time; what cannot be read is left out."""
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda pair: _view_of(pair, max_pixels), pairs))
    return [one for one in found if one is not None]


def _view_of(pair: Row, max_pixels: int) -> Viewed | None:
    a_file, b_file = storage.read_many([pair["a_uri"], pair["b_uri"]])
    if not isinstance(a_file, bytes) or not isinstance(b_file, bytes):
        return None
    try:
        with quiet_pillow:
            sources = read_sources({**pair, "a_file": a_file, "b_file": b_file}, max_pixels)
            a, b = (view(source.values) for source in sources)
    except (SourceError, ValueError, MemoryError):
        return None
    return Viewed(pair["pair_id"], (a, b))


def _evenly(rows: list[Item], count: int) -> list[Item]:
    if len(rows) <= count:
        return rows
    return [rows[round(number * (len(rows) - 1) / max(1, count - 1))] for number in range(count)]


def _sizes_of_first(pairs: pa.Table) -> tuple[Size, Size]:
    for row in spread(pairs, 1):
        try:
            a, b = (image_size(storage.read_bytes(row[side])) for side in ("a_uri", "b_uri"))
        except (ImageError, OSError) as error:
            raise UsageError(f"the sizes of pair {row['pair_id']!r} cannot be read: {error}") from error
        return a, b
    raise UsageError("--rig: this calibration does not name the sizes of A and B, and SOURCE has no pair of images")
