"""The schemas of rows inside the fuse graph, and of the final row of each pair.

A pair that fails in any stage stays in the graph as a row with `error_code` and `error`; later stages skip it.
"""

import json

import pyarrow as pa

from pipelines.archive.rows import CAMERA, IMAGE, METADATA
from pipelines.archive.schema import MANIFEST_SCHEMA
from pipelines.errors.failures import FAILURE, OUTCOME

STAGES = ("fetch", "decode", "fuse", "measure", "encode")

SEGMENT = [
    pa.field("recording", pa.string()),
    pa.field("start_pts", pa.int64()),
    pa.field("end_pts", pa.int64()),
    pa.field("offset_s", pa.float64()),
    pa.field("offset_confidence", pa.float64()),
]
"""Manifest columns of a segment of a pair of recordings: start and end in the time base of A, and by how much
B's clock started later; null for a pair of images. A recording that could not be cut has no `start_pts`, the last
segment no `end_pts`."""

JOB_MANIFEST = pa.schema([*MANIFEST_SCHEMA, *SEGMENT])
"""The manifest of a destination: every row is a pair of images or a segment."""

SEGMENT_COUNTS = (
    "frames", "measured", "unpaired", "a_dropped", "b_dropped", "a_repeated", "b_repeated", "a_damaged", "b_damaged",
    "b_reused",
)  # fmt: skip
"""Counts of a segment: fused and measured frames; frames of A without a partner; frames missing at the frame rate,
with a repeated timestamp, damaged; partners that were used twice."""

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
"""Result columns of a fused segment; null for a pair of images. Seconds are from A's first frame on."""

IMAGE_FEATURE = {"huggingface": json.dumps({"info": {"features": {"fused": {"_type": "Image"}}}})}
"""Metadata of the files of rows: `datasets.load_dataset("parquet", ...)` decodes `fused` to images by it."""

WRITTEN = pa.schema([pa.field("pair_id", pa.string()), *OUTCOME])


def fused_schema(metrics: tuple[str, ...], *, keep_b: bool = False) -> pa.Schema:
    """Return the schema between the network and the writer, with one column per metric, and with B if it is kept."""
    return pa.schema(
        [
            *MANIFEST_SCHEMA,
            *FAILURE,
            pa.field("note", pa.string()),
            pa.field("fused", IMAGE),
            pa.field("rig", pa.string()),
            pa.field("alignment", pa.float64()),
            *[pa.field("b", IMAGE)] * keep_b,
            *CAMERA,
            pa.field("metadata", METADATA),
            *[pa.field(name, pa.float64()) for name in metrics],
            pa.field("metrics_version", pa.int32()),
            *[pa.field(f"{stage}_ms", pa.float64()) for stage in STAGES[:-1]],
        ]
    )


def output_schema(metrics: tuple[str, ...]) -> pa.Schema:
    """Return the schema of `pairs/*.parquet`.

    `fused` has the structure that Parquet tools show as an image, and the metadata by which Hugging Face `datasets`
    does.
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
            pa.field("rig", pa.string()),
            pa.field("alignment", pa.float64()),
            *[pa.field(name, pa.float64()) for name in metrics],
            pa.field("metrics_version", pa.int32()),
            pa.field("schema_version", pa.int32()),
            *[pa.field(f"{stage}_ms", pa.float64()) for stage in STAGES],
            pa.field("fused", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            pa.field("fused_uri", pa.string()),
            pa.field("registered_uri", pa.string()),
            *CAMERA,
            *SEGMENT,
            *SEGMENT_RESULT,
        ],
        IMAGE_FEATURE,
    )
