"""A short animated picture of a pair of recordings and the fused one, side by side."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.fuse.footage.frames import Frame, open_source
from upfusion.color import Pixels
from upfusion.image_guard import MAX_PIXELS
from upfusion.images import to_8_bits

MOST_FRAMES = 60
QUALITY = 60


def animate(uris: tuple[str, str, str], file: Path, side: int = 320) -> None:
    """Write A, B and F, frame for frame, as an animated WebP; each is at most `side` pixels wide."""
    with ExitStack() as stack:
        sources = [stack.enter_context(open_source(uri, MAX_PIXELS)) for uri in uris]
        rows = list(zip(*(source.frames(0.0, float("inf")) for source in sources), strict=False))[:MOST_FRAMES]
        milliseconds = round(1000 * sources[0].video.interval)
        first, *others = [_side_by_side(row, side) for row in rows]
    first.save(
        file,
        save_all=True,
        append_images=others,
        duration=milliseconds,
        loop=0,
        quality=QUALITY,
        method=6,
        format="WEBP",
    )


def _side_by_side(frames: tuple[Frame, ...], side: int) -> Image.Image:
    panels = [_panel(frame.read(), side) for frame in frames]
    sheet = Image.new("RGB", (sum(panel.width for panel in panels), panels[0].height))
    at = 0
    for panel in panels:
        sheet.paste(panel, (at, 0))
        at += panel.width
    return sheet


def _panel(pixels: Pixels, side: int) -> Image.Image:
    image = Image.fromarray(np.asarray(to_8_bits(pixels))).convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image
