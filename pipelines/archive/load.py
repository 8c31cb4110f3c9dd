"""The stages before the network: fetch the source files of a block of pairs and decode them to arrays of one size."""

import time
from collections.abc import Callable, Iterator

import pyarrow as pa

from pipelines.archive.rows import DECODED, milliseconds_since, pack_image
from pipelines.errors.failures import STORE_LOST, Row, Rows, fail
from pipelines.storage import objects as storage
from pipelines.storage.outage import is_outage
from pipelines.storage.retry import CredentialsError
from upfusion.cameras.metadata import read_metadata, read_shot
from upfusion.cameras.pair_options import PairOptions
from upfusion.cameras.radiometric import radiometric_kind
from upfusion.cameras.sources import SideImage, SourceImage, read_radiometric_pair, read_source, resize_to, to_side
from upfusion.color import Pixels
from upfusion.image_guard import quiet_pillow
from upfusion.images import MAX_PIXELS, ImageError

# Pairs that are fetched concurrently: 16 have as many files as a store has connections.
FEWEST_TOGETHER, MOST_TOGETHER = 4, 16
BYTES_TOGETHER = 32 << 20


AS_STORED = PairOptions()
Register = Callable[[Row, Pixels, Pixels], tuple[Pixels, Pixels]]
"""Brings the sources of a pair onto one canvas, or fails its row."""


def check_sizes(row: Row, a: Pixels, b: Pixels) -> tuple[Pixels, Pixels]:
    """Fail a pair whose sources differ in size, and return them as they are."""
    if a.shape[:2] != b.shape[:2]:
        sizes = [f"{pixels.shape[1]}x{pixels.shape[0]}" for pixels in (a, b)]
        fail(
            row,
            "size_mismatch",
            f"sources differ in size: A is {sizes[0]}, B is {sizes[1]} pixels. Where both show the same part of the "
            "scene, --resize b-to-a scales B; otherwise estimate a rig with `upfusion align` and give it as --rig",
        )
    return a, b


def load_sources(
    pairs: pa.Table,
    max_bytes: int | None = None,
    max_pixels: int = MAX_PIXELS,
    options: PairOptions = AS_STORED,
    register: Register = check_sizes,
) -> Iterator[pa.Table]:
    """Fetch, decode and register pairs in small groups, which bounds memory.

    The grouping depends on the files only, so a retried task yields the same blocks.
    """
    start, size = 0, FEWEST_TOGETHER
    while start < pairs.num_rows:
        loaded = decode(fetch(pairs.slice(start, size), max_bytes), max_pixels, options, register)
        start += loaded.num_rows
        fitting = BYTES_TOGETHER * loaded.num_rows // loaded.nbytes
        size = max(FEWEST_TOGETHER, min(MOST_TOGETHER, 2 * size, fitting))
        yield loaded


def fetch(pairs: pa.Table, max_bytes: int | None = None) -> Rows:
    """Read the source files of a block concurrently, none of more than `max_bytes`, as `a_file` and `b_file`."""
    started = time.perf_counter()
    rows = pairs.to_pylist()
    files = storage.read_many([row[side] for row in rows for side in ("a_uri", "b_uri")], max_bytes)
    milliseconds = milliseconds_since(started) / max(1, len(rows))
    for row, file_a, file_b in zip(rows, files[::2], files[1::2], strict=True):
        row |= {"error_code": None, "error": None, "a_file": None, "b_file": None, "fetch_ms": milliseconds}
        for side, data in (("a", file_a), ("b", file_b)):
            if isinstance(data, Exception):
                fail(row, *fetch_failure(row[f"{side}_uri"], data))
            else:
                row[f"{side}_file"] = data
    return rows


def decode(
    rows: Rows,
    max_pixels: int = MAX_PIXELS,
    options: PairOptions = AS_STORED,
    register: Register = check_sizes,
) -> pa.Table:
    """Decode source files of at most `max_pixels` to arrays of one size, and free the files.

    Without `options`, pixels are taken as stored, on their full scale.
    """
    with quiet_pillow:  # once for all of them
        for row in rows:
            started = time.perf_counter()
            if row["error_code"] is None:
                _decode_pair(row, max_pixels, options, register)
            if row["error_code"] is not None:
                row |= {"a": None, "b": None}  # unused pixels
            row["decode_ms"] = milliseconds_since(started)
    return pa.Table.from_pylist(rows, DECODED)


def fetch_failure(uri: str, error: Exception) -> tuple[str, str]:
    """Return the error code and the message for a file that could not be read."""
    if isinstance(error, CredentialsError):
        return STORE_LOST, f"{uri} cannot be read: the store rejects the credentials ({error.strerror})"
    said = getattr(error, "strerror", None) or error
    if is_outage(uri, error):
        return STORE_LOST, f"{uri} cannot be read: its store does not respond ({said})"
    if isinstance(error, FileNotFoundError):
        return "source_missing", f"{uri} does not exist"
    if isinstance(error, PermissionError):
        return "source_unreadable", f"{uri} cannot be read: access is denied"
    if isinstance(error, storage.TooLargeError):
        return "too_large", f"{uri} is too large: {error.strerror} (--max-file-mb)"
    return "source_unreadable", f"{uri} cannot be read: {said}"


def _decode_pair(row: Row, max_pixels: int, options: PairOptions, register: Register) -> None:
    found = read_pair(row, max_pixels, options, register)
    file_a = row["a_file"]
    row |= {"a_file": None, "b_file": None}
    if found is None:
        return
    row |= {"a": pack_image(found[0]), "b": pack_image(found[1])}
    if options.metadata:
        _keep_metadata(row, file_a)


def read_pair(row: Row, max_pixels: int, options: PairOptions, register: Register) -> tuple[Pixels, Pixels] | None:
    """Decode `a_file` and `b_file` of a row to the arrays that are fused, and note in it what was done.

    Returns None after failing the row where they are damaged or do not fit together.
    """
    try:
        pair = _read_pair(row, max_pixels, options, register)
    except SourceError as failure:
        error = failure.error
        # Nothing but ImageError is raised; if something were, its pair alone would fail.
        code = "out_of_memory" if isinstance(error, MemoryError) else "damaged_image"
        if isinstance(error, ImageError):
            fail(row, error.code, f"{failure.uri}: {error}")
        else:
            fail(row, code, f"{failure.uri}: {type(error).__name__}: {error}")
        return None
    return pair if row["error_code"] is None else None


class SourceError(Exception):
    """What was wrong with which source."""

    def __init__(self, uri: str, error: Exception) -> None:
        super().__init__(uri)
        self.uri, self.error = uri, error


def _read_pair(row: Row, max_pixels: int, options: PairOptions, register: Register) -> tuple[Pixels, Pixels]:
    a, b = read_sources(row, max_pixels)
    return combine(row, a, b, options, register)


def combine(
    row: Row, a: SourceImage, b: SourceImage, options: PairOptions, register: Register
) -> tuple[Pixels, Pixels]:
    """Turn two decoded sources into the arrays that are fused, or fail the row; raises SourceError."""
    options = options.of(row["pair_id"])
    notes: list[str] = []
    sides: dict[str, SideImage] = {}
    for side, source in (("a", a), ("b", b)):
        try:
            sides[side] = to_side(source, side.upper(), getattr(options, side))
        except Exception as error:
            raise SourceError(row[f"{side}_uri"], error) from error
        notes += sides[side].notes
    pixels_a, pixels_b = sides["a"].pixels, sides["b"].pixels
    if options.resize_b and pixels_a.shape[:2] != pixels_b.shape[:2]:
        pixels_b = resize_to(pixels_b, (pixels_a.shape[0], pixels_a.shape[1]))
    row |= {"range_a": sides["a"].range, "range_b": sides["b"].range, "palette": sides["b"].palette}
    row["note"] = "; ".join(notes) or None
    try:
        return register(row, pixels_a, pixels_b)
    except MemoryError as error:
        raise SourceError(row["b_uri"], error) from error


def read_sources(row: Row, max_pixels: int) -> Iterator[SourceImage]:
    """Decode `a_file`, then `b_file`; of one FLIR radiometric JPEG both at once. Raises SourceError."""
    a_uri, b_uri = row["a_uri"], row["b_uri"]
    try:
        if a_uri == b_uri and radiometric_kind(row["a_file"]) == "flir":
            yield from read_radiometric_pair(row["a_file"], max_pixels)
            return
        yield read_source(row["a_file"], "A", max_pixels)
    except Exception as error:
        raise SourceError(a_uri, error) from error
    try:
        yield read_source(row["b_file"], "B", max_pixels)
    except Exception as error:
        raise SourceError(b_uri, error) from error


def _keep_metadata(row: Row, file: bytes) -> None:
    metadata = read_metadata(file)
    row |= vars(read_shot(metadata))
    row["metadata"] = None if metadata.is_empty else metadata.packed()
