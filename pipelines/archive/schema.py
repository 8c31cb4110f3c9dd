"""The result of discovery: the manifest of an archive, and the files that could not be paired."""

from dataclasses import dataclass, field

import pyarrow as pa

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("a_uri", pa.string(), nullable=False),
        pa.field("b_uri", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("prompt", pa.string()),
        pa.field("balance", pa.float64()),
    ]
)
COLUMNS: list[str] = MANIFEST_SCHEMA.names
NEEDED = ("pair_id", "a_uri", "b_uri")

DEFAULT_TASK = "ir_visible"


@dataclass(frozen=True)
class Discovery:
    """The pairs of an archive and the files that could not be paired."""

    pairs: pa.Table
    """MANIFEST_SCHEMA, sorted by pair_id."""
    unpaired: list[str] = field(default_factory=list)
    """URIs of images and recordings without a partner."""
    ignored: int = 0
    """Number of files that are neither images nor recordings, are hidden, or are in no sensor folder."""
