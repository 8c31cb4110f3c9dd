"""How well palettes of thermal cameras are recognised and turned back: `python -m benchmarks.palettes [SCENES]`.

Synthetic scenes are coloured, sent through JPEG at quality 85 and read again. Prints per palette how many of the scenes
were recognised, and the lowest and the median correlation with the true values; for grey scenes how many were taken for
a palette.
"""

import io
import sys

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from upfusion.cameras.palettes import PALETTES, colourise, match_palette, to_values

HEIGHT, WIDTH = 240, 320


def scene(seed: int) -> NDArray[np.uint8]:
    """Make a thermal scene: a smooth background, things in it, noise, stretched as a camera does."""
    dice = np.random.default_rng(seed)
    field = cv2.GaussianBlur(dice.normal(size=(HEIGHT, WIDTH)).astype(np.float32), (0, 0), dice.uniform(15, 50))
    field = (field - field.min()) / np.ptp(field) * dice.uniform(0.3, 0.8)
    field = field + np.linspace(0, dice.uniform(0, 0.4), HEIGHT, dtype=np.float32)[:, None]
    for _ in range(dice.integers(2, 9)):
        centre, axes = dice.integers(0, (WIDTH, HEIGHT)).tolist(), dice.integers(4, 50, 2).tolist()
        shape = cv2.ellipse(np.zeros((HEIGHT, WIDTH), np.float32), centre, axes, dice.uniform(0, 180), 0, 360, 1, -1)
        mask = cv2.GaussianBlur(shape, (0, 0), dice.uniform(0.8, 2))
        field = field * (1 - mask) + dice.uniform(0, 1.2) * mask
    field = field + dice.normal(0, dice.uniform(0.002, 0.012), field.shape)
    low, high = np.percentile(field, (0.5, 99.5))
    return (np.clip((field - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def through_jpeg(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Encode at quality 85, with chroma at half the resolution, and decode."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=85)
    with Image.open(data) as image:
        return np.asarray(image.convert("RGB"))


def main() -> None:
    """Measure and print."""
    scenes = [scene(seed) for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else 200)]
    for palette in PALETTES:
        recognised, correlations = 0, []
        for values in scenes:
            seen = through_jpeg(colourise(values, palette))
            found = match_palette(seen)
            recognised += found is not None and found.is_sure and found.name == palette
            correlations.append(np.corrcoef(to_values(seen, palette).ravel(), values.ravel())[0, 1])
        print(
            f"{palette}: {recognised} of {len(scenes)}, r {min(correlations):.4f}, median {np.median(correlations):.4f}"
        )
    grey = [match_palette(through_jpeg(np.dstack([values] * 3))) for values in scenes]
    print(f"grey: {sum(found is not None and found.is_sure for found in grey)} of {len(scenes)}")


if __name__ == "__main__":
    main()
