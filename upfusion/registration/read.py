"""Images as registration takes them: paths, PIL images or arrays."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from upfusion.images import read_image, to_array


def read_pixels(image: Any) -> NDArray[Any]:
    """Return a path's, a PIL image's or an array's pixels: `(H, W)` or `(H, W, 3)` RGB.

    Raises ImageError or OSError for a file that cannot be read, ValueError for an array of another shape.
    """
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, Image.Image):
        return to_array(image)
    pixels = np.asarray(image)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3) or 0 in pixels.shape:
        raise ValueError(f"expected an image (H, W) or (H, W, 3), got an array of shape {pixels.shape}")
    return pixels
