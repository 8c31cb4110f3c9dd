"""The metrics of a fused image for people who have images: `upfusion.measure("a.png", "b.png", "fused.png")`."""

from collections.abc import Iterable

import torch

from upfusion.color import luma8
from upfusion.image_sources import ImageSource, to_pixels
from upfusion.metrics import DEFAULT_METRICS
from upfusion.metrics import measure as measure_lumas


def measure(
    a: ImageSource, b: ImageSource, fused: ImageSource, metrics: Iterable[str] = DEFAULT_METRICS
) -> dict[str, float | None]:
    """Measure one fused image against its two sources, as jobs do: on 8-bit luma (BT.601).

    Images are paths, PIL images, arrays or tensors, all of one size. Returns a value per metric, None where a metric
    has no meaning for these images (`metrics.explain_undefined` says why). The metrics' definitions, ranges and sources
    are in docs/metrics.md. Raises ValueError for an unknown metric and for images of different sizes, and as
    `to_pixels` does.
    """
    images = {"A": to_pixels(a), "B": to_pixels(b), "fused": to_pixels(fused)}
    sizes = {name: f"{pixels.shape[1]}x{pixels.shape[0]}" for name, pixels in images.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(
            f"images differ in size: {', '.join(f'{name} is {size}' for name, size in sizes.items())} pixels"
        )
    luma_a, luma_b, luma_f = (torch.from_numpy(luma8(pixels))[None, None] for pixels in images.values())
    return {name: values[0] for name, values in measure_lumas(luma_a, luma_b, luma_f, metrics).items()}
