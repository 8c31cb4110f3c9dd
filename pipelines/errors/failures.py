"""Rows that fail: the codes they can have, and marking a row as failed.

A pair that fails in any stage stays in the graph as a row with `error_code` and `error`; later stages skip it.
"""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from pipelines.errors.redaction import redact

Row = dict[str, Any]
Rows = list[Row]

ERROR_CODES: dict[str, str] = {
    "source_missing": "a source image does not exist",
    "source_unreadable": "a source image could not be read from the store",
    "empty_file": "a source file has 0 bytes",
    "not_an_image": "a source file is not an image",
    "truncated_image": "the file of a source image ends early",
    "damaged_image": "a source image is damaged",
    "unsupported_image": "a source image is whole, but of a kind that is not read",
    "too_large": "a source image has more pixels, or its file more bytes, than is safe to read",
    "size_mismatch": "the sources of a pair differ in size",
    "rig_mismatch": "the rig is for images of other sizes, or there is none for the pair's camera",
    "not_registered": "A and B are not registered, and --misaligned fail was given",
    "out_of_memory": "the pair is too large for the memory of the device",
    "fuse_failed": "the network or a metric failed on the pair",
    "write_failed": "the fused image could not be encoded or written",
    "not_a_recording": "a source is not a recording that can be read",
    "truncated_recording": "a recording is damaged or incomplete where the segment lies",
    "unsupported_recording": "a recording's video codec is not supported",
    "not_synchronised": "the clock offset between two recordings could not be determined",
    "no_partner": "no frame of A has a frame of B at the same time",
    "measure_failed": "a metric or the detector failed on a fused image",
    "smaller_than_crop": "the images of a training pair are smaller than a crop",
    "fused_missing": "a folder of fused images has none of the pair",
}
"""Every error code of a failed row, with its meaning."""

STORE_LOST = "store_lost"
"""Transient `error_code` inside the graph: the store is unavailable, so the pair gets no row and the job stops."""

FAILURE = [pa.field("error_code", pa.string()), pa.field("error", pa.string())]

OUTCOME = [pa.field("error_code", pa.string()), pa.field("stopped", pa.string())]
"""What the last stage of a graph returns per row: its error code, or why it could not be written."""


def fail(row: Row, code: str, sentence: str) -> None:
    """Mark a pair as failed; the first failure is kept. Secrets are redacted. Raises ValueError for an unknown code."""
    check_code(code)
    if row.get("error_code") is None:
        row["error_code"], row["error"] = code, redact(sentence)


def check_code(code: str) -> None:
    """Raise ValueError for a code that is neither in ERROR_CODES nor STORE_LOST."""
    if code != STORE_LOST and code not in ERROR_CODES:
        raise ValueError(f"unknown error code {code!r}: expected one of ERROR_CODES")


def mark_store_unavailable(row: Row, place: str, error: OSError) -> None:
    """Mark a pair as unfinished because a store is unavailable: STORE_LOST, which is no failure of the pair."""
    row |= {"error_code": STORE_LOST, "error": redact(f"{place} cannot be written: {error}")}


def write_rows_or_mark_lost(rows: Rows, put: Callable[[Rows], None], place: str) -> Rows:
    """Write the rows that are not STORE_LOST, and return OUTCOME for all; if writing fails, all are STORE_LOST."""
    kept = [row for row in rows if row["error_code"] != STORE_LOST]
    if kept:
        try:
            put(kept)
        except OSError as error:
            for row in kept:
                mark_store_unavailable(row, place, error)
    return [row | {"stopped": row["error"] if row["error_code"] == STORE_LOST else None} for row in rows]
