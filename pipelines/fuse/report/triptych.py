"""Pictures of source A, source B and the fused image side by side."""

from typing import Any

import pyarrow as pa
from PIL import Image

from pipelines.archive.allowlist import MayRead, allow_all
from pipelines.fuse.destination import Destination
from pipelines.fuse.report.sources import FusedSources
from pipelines.fuse.schemas import output_schema
from pipelines.storage import objects as storage
from pipelines.storage.ownership import read_claim
from pipelines.storage.parquet import read_as
from upfusion.images import decode_image
from upfusion.panels import join_panels

SHOWN = pa.schema(
    [output_schema(()).field(name) for name in ("pair_id", "task", "status", "a_uri", "b_uri", "fused", "fused_uri")]
)


def draw_triptychs(destination: Destination, count: int, may_read: MayRead = allow_all) -> list[Image.Image]:
    """Draw up to `count` fused pairs of a destination, spread over its files; sources may have been deleted.

    Pairs with images that `may_read` does not allow are skipped.
    """
    run = read_claim(destination.uri) or {}
    sources = FusedSources(destination.uri, run, may_read)
    files = destination.pair_files()
    chosen = files[:: max(1, len(files) // count)]
    triptychs: list[Image.Image] = []
    for uri in chosen:
        if len(triptychs) == count:
            break
        rows = read_as(uri, SHOWN)
        if row := next((row for row in rows.to_pylist() if row["status"] == "ok"), None):
            triptychs.extend(_draw(row, sources))
    return triptychs


def _draw(row: dict[str, Any], sources: FusedSources) -> list[Image.Image]:
    inside = (row["fused"] or {}).get("bytes")
    if not inside and not (row["fused_uri"] and sources.may_read(row["fused_uri"])):
        return []
    try:
        fused = inside or storage.read_bytes(row["fused_uri"])
        pair = sources.pair(row)
        return [join_panels([*pair, decode_image(fused).pixels])] if pair else []
    except (OSError, ValueError):
        return []
