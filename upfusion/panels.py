"""Images of one size side by side."""

from collections.abc import Iterable

import numpy as np
from PIL import Image

from upfusion.color import Pixels
from upfusion.images import to_8_bits

LONG_SIDE = 640  # pixels of one of the three


def join_panels(images: Iterable[Pixels]) -> Image.Image:
    """Put images of one size side by side, none larger than LONG_SIDE."""
    panels = [_panel(image) for image in images]
    width, height = panels[0].size
    sheet = Image.new("RGB", (len(panels) * width, height))
    for position, panel in enumerate(panels):
        sheet.paste(panel, (position * width, 0))
    return sheet


def _panel(pixels: Pixels) -> Image.Image:
    image = Image.fromarray(np.asarray(to_8_bits(pixels))).convert("RGB")
    image.thumbnail((LONG_SIDE, LONG_SIDE))
    return image
