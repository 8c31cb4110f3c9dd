"""Pictures of source A, source B and the fused image side by side."""

from typing import Any

import pyarrow as pa
from PIL import Image

from pipelines.archive.allowlist import MayRead, allow_all
from pipelines.fuse.destination import Destination
from pipelines.fuse.schemas import output_schema
from pipelines.storage import objects as storage
from pipelines.storage.parquet import read_as
from upfusion.cameras.sources import read_as_fused
from upfusion.images import decode_image
from upfusion.panels import join_panels

SHOWN = pa.schema(
    [
        output_schema(()).field(name)
        for name in ("status", "a_uri", "b_uri", "fused", "fused_uri", "range_a", "range_b", "palette")
    ]
)


def draw_triptychs(destination: Destination, count: int, may_read: MayRead = allow_all) -> list[Image.Image]:
    """Draw up to `count` fused pairs of a destination, spread over its files; sources may have been deleted.

    Pairs with images that `may_read` does not allow are skipped.
    """
    files = destination.pair_files()
    chosen = files[:: max(1, len(files) // count)]
    triptychs: list[Image.Image] = []
    for uri in chosen:
        if len(triptychs) == count:
            break
        rows = read_as(uri, SHOWN)
        if row := next((row for row in rows.to_pylist() if row["status"] == "ok"), None):
            triptychs.extend(_draw(row, may_read))
    return triptychs


def _draw(row: dict[str, Any], may_read: MayRead) -> list[Image.Image]:
    inside = (row["fused"] or {}).get("bytes")
    named = [row["a_uri"], row["b_uri"], *([] if inside else [row["fused_uri"]])]
    if not all(uri and may_read(uri) for uri in named):
        return []
    try:
        fused = inside or storage.read_bytes(row["fused_uri"])
        sources = [read_as_fused(storage.read_bytes(row[f"{side.lower()}_uri"]), side, row) for side in "AB"]
        return [join_panels([*sources, decode_image(fused).pixels])]
    except (OSError, ValueError):
        return []
