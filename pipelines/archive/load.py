"""The stages before the network: fetch the source files of a block of pairs and decode them to arrays of one size."""

import time
from collections.abc import Iterator

import pyarrow as pa

from pipelines.archive.rows import DECODED, milliseconds_since, pack_image, size_of
from pipelines.errors.failures import STORE_LOST, Row, Rows, fail
from pipelines.storage import objects as storage
from pipelines.storage.retry import CredentialsError
from upfusion.image_guard import quiet_pillow
from upfusion.images import MAX_PIXELS, DecodedImage, ImageError, decode_image

# Pairs that are fetched concurrently: 16 have as many files as a store has connections.
FEWEST_TOGETHER, MOST_TOGETHER = 4, 16
BYTES_TOGETHER = 32 << 20


def load_sources(pairs: pa.Table, max_bytes: int | None = None, max_pixels: int = MAX_PIXELS) -> Iterator[pa.Table]:
    """Fetch and decode pairs in small groups, which bounds memory.

    The grouping depends on the files only, so a retried task yields the same blocks.
    """
    start, size = 0, FEWEST_TOGETHER
    while start < pairs.num_rows:
        loaded = decode(fetch(pairs.slice(start, size), max_bytes), max_pixels)
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


def decode(rows: Rows, max_pixels: int = MAX_PIXELS) -> pa.Table:
    """Decode source files of at most `max_pixels` to arrays of one size, and free the files."""
    with quiet_pillow:  # once for all of them
        for row in rows:
            started = time.perf_counter()
            if row["error_code"] is None:
                _decode_pair(row, max_pixels)
            if row["error_code"] is not None:
                row |= {"a": None, "b": None}  # unused pixels
            row["decode_ms"] = milliseconds_since(started)
    return pa.Table.from_pylist(rows, DECODED)


def fetch_failure(uri: str, error: Exception) -> tuple[str, str]:
    """Return the error code and the message for a file that could not be read."""
    if isinstance(error, CredentialsError):
        return STORE_LOST, f"{uri} cannot be read: the store rejects the credentials ({error.strerror})"
    if isinstance(error, FileNotFoundError):
        return "source_missing", f"{uri} does not exist"
    if isinstance(error, PermissionError):
        return "source_unreadable", f"{uri} cannot be read: access is denied"
    if isinstance(error, storage.TooLargeError):
        return "too_large", f"{uri} is too large: {error.strerror} (--max-file-mb)"
    return "source_unreadable", f"{uri} cannot be read: {getattr(error, 'strerror', None) or error}"


def _decode_pair(row: Row, max_pixels: int) -> None:
    notes = []
    for side in ("a", "b"):
        uri = row[f"{side}_uri"]
        try:
            image = decode_image(row[f"{side}_file"], max_pixels)
            row[f"{side}_file"] = None  # frees memory for the pixels
            row[side] = pack_image(image.pixels)
        except ImageError as error:
            fail(row, error.code, f"{uri}: {error}")
            return
        except Exception as error:  # noqa: BLE001  # decode_image raises nothing else; if it did, its pair alone failed
            code = "out_of_memory" if isinstance(error, MemoryError) else "damaged_image"
            fail(row, code, f"{uri}: {type(error).__name__}: {error}")
            return
        notes += _notes(side.upper(), image)
    if (row["a"]["height"], row["a"]["width"]) != (row["b"]["height"], row["b"]["width"]):
        sentence = f"sources differ in size: A is {size_of(row['a'])}, B is {size_of(row['b'])} pixels"
        fail(row, "size_mismatch", f"{sentence}; register them to one size first")
    row["note"] = "; ".join(notes) or None


def _notes(side: str, image: DecodedImage) -> list[str]:
    notes = []
    if image.alpha_dropped:
        notes.append(f"transparency of {side} was dropped")
    if image.frames != 1:
        notes.append(f"first of {image.frames or 'many'} frames of {side}")
    return notes
