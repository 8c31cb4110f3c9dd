"""The additional columns of rows of recordings."""

import pyarrow as pa

from pipelines.errors.failures import FAILURE, OUTCOME
from pipelines.fuse.schemas import SEGMENT

FRAME = [
    pa.field("recording", pa.string(), nullable=False),
    pa.field("pair_id", pa.string(), nullable=False),
    pa.field("frame", pa.int32(), nullable=False),
    pa.field("pts", pa.int64(), nullable=False),
    pa.field("seconds", pa.float64(), nullable=False),
    pa.field("b_seconds", pa.float64(), nullable=False),
]
STABILITY = ("flicker", "change_ratio")


def frame_schema(metrics: tuple[str, ...]) -> pa.Schema:
    """Return the schema of `frames/`: one row per fused frame, its metrics null if it was not measured.

    `frame` counts within the segment, `pts` is in A's time base, `seconds` and `b_seconds` are since the first frame
    of A and of B.
    """
    measured = [pa.field(name, pa.float64()) for name in (*metrics, *STABILITY)]
    return pa.schema([*FRAME, *measured, pa.field("schema_version", pa.int32())])


TO_JOIN = pa.schema(
    [
        pa.field("recording", pa.string()),
        pa.field("a_uri", pa.string()),
        pa.field("b_uri", pa.string()),
        pa.field("offset_s", pa.float64()),
        pa.field("offset_confidence", pa.float64()),
        pa.field("time_base", pa.string()),
        pa.field("rate", pa.float64()),
        pa.field("frames", pa.int64()),
        pa.field(
            "segments",
            pa.list_(
                pa.struct(
                    [
                        ("pair_id", pa.string()),
                        ("error_code", pa.string()),
                        ("start_pts", pa.int64()),
                        ("end_pts", pa.int64()),
                    ]
                )
            ),
        ),
    ]
)
"""A recording whose segments all have rows, in order of time."""

RECORDING_OUTCOME = pa.schema([pa.field("recording", pa.string()), *OUTCOME])
"""What becomes of a recording that is cut or joined."""

OF_A_SEGMENT = ("pair_id", *(field.name for field in SEGMENT))
CUT = pa.schema([pa.field("pair_id", pa.string()), *SEGMENT, *FAILURE])
"""The segments of a recording, or a row with the reason why there are none; the other columns of the manifest are
those of the pair."""
