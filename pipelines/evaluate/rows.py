"""The schemas of an evaluation: work, measured rows, and the long table of values."""

import hashlib
import json

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors.failures import FAILURE, OUTCOME

OK, FAILED, MISSING = "ok", "failed", "missing"

WORK = pa.schema(
    [
        pa.field("set", pa.string()),
        pa.field("pair_id", pa.string()),
        pa.field("task", pa.string()),
        pa.field("a_uri", pa.string()),
        pa.field("b_uri", pa.string()),
        pa.field("detect", pa.bool_()),
        pa.field(
            "fusions",
            pa.list_(
                pa.struct(
                    [
                        ("key", pa.string()),
                        ("method", pa.string()),
                        ("baseline", pa.string()),
                        ("uri", pa.string()),
                        ("fuse_ms", pa.float64()),
                    ]
                )
            ),
        ),
    ]
)
"""One row per pair, with every fusion of it that has no value yet: a baseline, or a file."""

FETCHED = pa.schema(
    [
        *WORK,
        pa.field(
            "files",
            pa.list_(
                pa.struct(
                    [
                        ("uri", pa.string()),
                        ("data", pa.large_binary()),
                        ("error_code", pa.string()),
                        ("error", pa.string()),
                    ]
                )
            ),
        ),
    ]
)

WRITTEN = pa.schema([pa.field("key", pa.string()), *OUTCOME])

VALUES = pa.schema(
    [
        pa.field("set", pa.string(), nullable=False),
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("fuse_ms", pa.float64()),
    ]
)
"""One row per set, pair, method and metric, with or without a value; `reason` is why there is none."""


def measured_schema(metrics: tuple[str, ...]) -> pa.Schema:
    """Return the schema of `rows/*.parquet`: one row per pair and method, with one column per metric."""
    return pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            *[VALUES.field(name) for name in ("set", "pair_id", "task", "method", "status")],
            *FAILURE,
            pa.field("note", pa.string()),
            *[VALUES.field(name) for name in ("width", "height", "fuse_ms")],
            *[pa.field(name, pa.float64()) for name in metrics],
            pa.field("metrics_version", pa.int32()),
            pa.field("schema_version", pa.int32()),
            pa.field("measure_ms", pa.float64()),
            pa.field("why_none", pa.map_(pa.string(), pa.string())),
            pa.field("detections", pa.list_(pa.list_(pa.float64()))),
        ]
    )


def key_of(*decisive: object) -> str:
    """Return the key of a row: a digest of all that affects it, so that only what changed is measured again."""
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:32]


def to_values(rows: pa.Table, metrics: tuple[str, ...]) -> pa.Table:
    """Turn one row per pair and method into one per metric (VALUES), in order of set, pair, method and metric."""
    common = {name: rows[name] for name in VALUES.names if name in rows.column_names}
    failed = pc.not_equal(rows["status"], OK)
    tables = []
    for metric in metrics:
        reason = pc.if_else(failed, rows["error"], pc.map_lookup(rows["why_none"], pa.scalar(metric), "first"))
        own = {"metric": [metric] * len(rows), "value": rows[metric], "reason": reason}
        columns = common | own
        tables.append(pa.table([columns[name] for name in VALUES.names], schema=VALUES))
    order = [(name, "ascending") for name in ("set", "pair_id", "method", "metric")]
    return pa.concat_tables(tables).sort_by(order)
