"""Rigs from files, and views of an archive's pairs to estimate them from."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from pipelines.archive.formats import is_recording
from pipelines.archive.load import SourceError, read_sources
from pipelines.errors.exceptions import UsageError
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


def spread(pairs: pa.Table, count: int, per: str | None = None) -> dict[str, list[dict[str, str]]]:
    """Choose pairs of images spread evenly over an archive, `count` per camera at most."""
    rows = pairs.select(["pair_id", "a_uri", "b_uri", "task"]).to_pylist()
    by_camera: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        if not is_recording(row["a_uri"]) and not is_recording(row["b_uri"]):
            by_camera.setdefault(camera_of(row["pair_id"], per), []).append(row)
    return {camera: _evenly(of_camera, count) for camera, of_camera in sorted(by_camera.items())}


def load_views(pairs: Sequence[dict[str, str]], max_pixels: int = MAX_PIXELS) -> list[Viewed]:
    """Fetch, decode and reduce pairs of images, a few at a time; what cannot be read is left out."""
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda pair: _view_of(pair, max_pixels), pairs))
    return [one for one in found if one is not None]


def _view_of(pair: dict[str, str], max_pixels: int) -> Viewed | None:
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


def _evenly(rows: list[dict[str, str]], count: int) -> list[dict[str, str]]:
    if len(rows) <= count:
        return rows
    return [rows[round(number * (len(rows) - 1) / max(1, count - 1))] for number in range(count)]


def _sizes_of_first(pairs: pa.Table) -> tuple[Size, Size]:
    for row in spread(pairs, 1).get("", []):
        try:
            a, b = (image_size(storage.read_bytes(row[side])) for side in ("a_uri", "b_uri"))
        except (ImageError, OSError) as error:
            raise UsageError(f"the sizes of pair {row['pair_id']!r} cannot be read: {error}") from error
        return a, b
    raise UsageError("--rig: this calibration does not name the sizes of A and B, and SOURCE has no pair of images")
