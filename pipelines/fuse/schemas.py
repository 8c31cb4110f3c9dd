"""The rows that travel through the fuse graph, and the row that is left of each pair.

A pair that fails anywhere travels on with its `error_code` and `error` set; every later stage passes it by.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.archive.discover import MANIFEST_SCHEMA
from pipelines.storage import objects as storage
from upfusion.color import Pixels

Row = dict[str, Any]
Rows = list[Row]

ERROR_CODES: dict[str, str] = {
    "source_missing": "a source image is not there",
    "source_unreadable": "the store did not give a source image",
    "empty_file": "a source file has 0 bytes",
    "not_an_image": "a source file is not an image",
    "truncated_image": "a source image is damaged or incomplete",
    "unsupported_image": "a source image has pixels of a kind that has no known range",
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

STAGES = ("fetch", "decode", "fuse", "measure", "encode")

# 64-bit offsets: a block of decoded images easily passes the 2 GiB of the 32-bit type.
IMAGE = pa.struct(
    [
        ("data", pa.large_binary()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("channels", pa.int32()),
        ("bits", pa.int32()),
    ]
)

SEGMENT = [
    pa.field("recording", pa.string()),
    pa.field("start_pts", pa.int64()),
    pa.field("end_pts", pa.int64()),
    pa.field("offset_s", pa.float64()),
    pa.field("offset_confidence", pa.float64()),
]
"""What a manifest says of a segment of a pair of recordings: from and to when, in the time base of A, and by how much
B's clock began later; null for a pair of images. A recording that could not be cut has no `start_pts`, one that goes on
to its end no `end_pts`."""

JOB_MANIFEST = pa.schema([*MANIFEST_SCHEMA, *SEGMENT])
"""The manifest of a destination: every row a pair of images, or a segment."""

SEGMENT_COUNTS = (
    "frames", "measured", "unpaired", "a_dropped", "b_dropped", "a_repeated", "b_repeated", "a_damaged", "b_damaged",
    "b_reused",
)  # fmt: skip
"""Of a segment: fused and measured frames; frames of A without a partner; frames that a recording lacks at its rate,
that have no time of their own, that are damaged; partners that were used again."""

SEGMENT_RESULT = [
    pa.field("start_s", pa.float64()),
    pa.field("end_s", pa.float64()),
    pa.field("time_base", pa.string()),
    pa.field("rate", pa.float64()),
    *[pa.field(name, pa.int32()) for name in SEGMENT_COUNTS],
    pa.field("flicker", pa.float64()),
    pa.field("change_ratio", pa.float64()),
    pa.field("segment_uri", pa.string()),
    pa.field("frames_uri", pa.string()),
]
"""What a row says of a fused segment; null for a pair of images. Seconds are from A's first frame on."""

FAILURE = [pa.field("error_code", pa.string()), pa.field("error", pa.string())]

DECODED = pa.schema(
    [
        *MANIFEST_SCHEMA,
        *FAILURE,
        pa.field("note", pa.string()),
        pa.field("a", IMAGE),
        pa.field("b", IMAGE),
        pa.field("fetch_ms", pa.float64()),
        pa.field("decode_ms", pa.float64()),
    ]
)

OUTCOME = [pa.field("error_code", pa.string()), pa.field("stopped", pa.string())]
"""What the last stage of a graph tells of each row: its error's code, or why it could not be written."""

WRITTEN = pa.schema([pa.field("pair_id", pa.string()), *OUTCOME])


def fused_schema(metrics: tuple[str, ...]) -> pa.Schema:
    """Return the schema between the network and the writer, with one column a metric."""
    return pa.schema(
        [
            *MANIFEST_SCHEMA,
            *FAILURE,
            pa.field("note", pa.string()),
            pa.field("fused", IMAGE),
            *[pa.field(name, pa.float64()) for name in metrics],
            pa.field("metrics_version", pa.int32()),
            *[pa.field(f"{stage}_ms", pa.float64()) for stage in STAGES[:-1]],
        ]
    )


def output_schema(metrics: tuple[str, ...]) -> pa.Schema:
    """Return the schema of `pairs/*.parquet`.

    `fused` is what Hugging Face `datasets` and other Parquet tools show as an image.
    """
    return pa.schema(
        [
            *MANIFEST_SCHEMA,
            pa.field("status", pa.string(), nullable=False),
            *FAILURE,
            pa.field("note", pa.string()),
            pa.field("width", pa.int32()),
            pa.field("height", pa.int32()),
            pa.field("model", pa.string()),
            *[pa.field(name, pa.float64()) for name in metrics],
            pa.field("metrics_version", pa.int32()),
            pa.field("schema_version", pa.int32()),
            *[pa.field(f"{stage}_ms", pa.float64()) for stage in STAGES],
            pa.field("fused", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            pa.field("fused_uri", pa.string()),
            *SEGMENT,
            *SEGMENT_RESULT,
        ]
    )


def fail(row: Row, code: str, sentence: str) -> None:
    """Mark a pair as failed; the first failure of a pair is the one that is kept. Secrets are blanked."""
    if row.get("error_code") is None:
        row["error_code"], row["error"] = code, storage.without_secrets(sentence)


def lose(row: Row, place: str, error: OSError) -> None:
    """Mark a pair that a store keeps from being finished: STORE_LOST instead of a failure of its own."""
    row |= {"error_code": STORE_LOST, "error": storage.without_secrets(f"{place} cannot be written: {error}")}


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


def pack_image(pixels: Pixels) -> dict[str, Any]:
    """Turn an array into an IMAGE value."""
    height, width = pixels.shape[:2]
    return {
        "data": np.ascontiguousarray(pixels).tobytes(),
        "height": height,
        "width": width,
        "channels": 1 if pixels.ndim == 2 else pixels.shape[2],
        "bits": pixels.dtype.itemsize * 8,
    }


def unpack_image(image: dict[str, Any]) -> Pixels:
    """Turn an IMAGE value back into a read-only array `(H, W)` or `(H, W, 3)`."""
    shape = (image["height"], image["width"], image["channels"])
    pixels = np.frombuffer(image["data"], dtype=np.uint8 if image["bits"] == 8 else np.uint16).reshape(shape)
    return pixels[..., 0] if image["channels"] == 1 else pixels


def size_of(image: dict[str, Any]) -> str:
    """Say the size of an IMAGE value as people do, WIDTHxHEIGHT."""
    return f"{image['width']}x{image['height']}"


def milliseconds_since(started: float) -> float:
    """Return the milliseconds since a moment of `time.perf_counter()`."""
    return 1000 * (time.perf_counter() - started)
