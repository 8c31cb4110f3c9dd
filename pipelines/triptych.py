"""Pictures of source A, source B and the fused image side by side."""

from typing import Any

import numpy as np
from PIL import Image

from pipelines import storage
from pipelines.destination import Destination
from upfusion.images import decode_image, to_8_bits

LONG_SIDE = 640  # pixels of one of the three


def draw_triptychs(destination: Destination, count: int) -> list[Image.Image]:
    """Draw up to `count` fused pairs of a destination, spread over its files; sources may have gone since."""
    files = destination.pair_files()
    chosen = files[:: max(1, len(files) // count)]
    triptychs: list[Image.Image] = []
    for uri in chosen:
        if len(triptychs) == count:
            break
        rows = destination.read_columns(["status", "a_uri", "b_uri", "fused", "fused_uri"], [uri])
        if row := next((row for row in rows.to_pylist() if row["status"] == "ok"), None):
            triptychs.extend(_draw(row))
    return triptychs


def _draw(row: dict[str, Any]) -> list[Image.Image]:
    try:
        fused = row["fused"]["bytes"] or storage.read_bytes(row["fused_uri"])
        images = [_panel(data) for data in (storage.read_bytes(row["a_uri"]), storage.read_bytes(row["b_uri"]), fused)]
    except (OSError, ValueError):
        return []
    width, height = images[0].size
    sheet = Image.new("RGB", (3 * width, height))
    for position, image in enumerate(images):
        sheet.paste(image, (position * width, 0))
    return [sheet]


def _panel(data: bytes) -> Image.Image:
    image = Image.fromarray(np.asarray(to_8_bits(decode_image(data).pixels))).convert("RGB")
    image.thumbnail((LONG_SIDE, LONG_SIDE))
    return image
