"""Rows that fail: the codes they can have, and marking a row as failed.

A pair that fails anywhere travels on with its `error_code` and `error` set; every later stage passes it by.
"""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from pipelines.errors.redaction import without_secrets

Row = dict[str, Any]
Rows = list[Row]

ERROR_CODES: dict[str, str] = {
    "source_missing": "a source image is not there",
    "source_unreadable": "the store did not give a source image",
    "empty_file": "a source file has 0 bytes",
    "not_an_image": "a source file is not an image",
    "truncated_image": "the file of a source image ends early",
    "damaged_image": "a source image is damaged",
    "unsupported_image": "a source image is whole, but of a kind that is not read",
    "too_large": "a source image has more pixels, or its file more bytes, than is safe to read",
    "size_mismatch": "the sources of a pair differ in size",
    "out_of_memory": "the pair is too large for the memory of the device",
    "fuse_failed": "the network or a metric failed on the pair",
    "write_failed": "the fused image could not be encoded or written",
    "not_a_recording": "a source is not a recording that can be read",
    "truncated_recording": "a recording is damaged or incomplete where the segment lies",
    "unsupported_recording": "a recording's film is of a codec that is not read",
    "not_synchronised": "it was not found out by how much the clocks of two recordings differ",
    "no_partner": "no frame of A has one of B at its time",
}
"""Every code that a failed row can have, and what it means."""

STORE_LOST = "store_lost"
"""In `error_code` on the way through the graph: nothing is wrong with the pair, and it gets no row; the job stops."""

FAILURE = [pa.field("error_code", pa.string()), pa.field("error", pa.string())]

OUTCOME = [pa.field("error_code", pa.string()), pa.field("stopped", pa.string())]
"""What the last stage of a graph tells of each row: its error's code, or why it could not be written."""


def fail(row: Row, code: str, sentence: str) -> None:
    """Mark a pair as failed; the first failure of a pair is the one that is kept. Secrets are blanked."""
    if row.get("error_code") is None:
        row["error_code"], row["error"] = code, without_secrets(sentence)


def lose(row: Row, place: str, error: OSError) -> None:
    """Mark a pair that a store keeps from being finished: STORE_LOST instead of a failure of its own."""
    row |= {"error_code": STORE_LOST, "error": without_secrets(f"{place} cannot be written: {error}")}


def put_or_tell(rows: Rows, put: Callable[[Rows], None], place: str) -> Rows:
    """Put the rows that are to be kept, and return all with OUTCOME: where that fails, none is written."""
    kept = [row for row in rows if row["error_code"] != STORE_LOST]
    if kept:
        try:
            put(kept)
        except OSError as error:
            for row in kept:
                lose(row, place, error)
    return [row | {"stopped": row["error"] if row["error_code"] == STORE_LOST else None} for row in rows]
