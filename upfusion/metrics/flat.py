"""Flat images, on which no metric has a meaning."""

from torch import Tensor


def nan_where_flat(values: Tensor, *images: Tensor) -> Tensor:
    """Make `values` `(..., N)` NaN where one of the images `(N, ...)` has a single level or is not finite."""
    for image in images:
        pixels = image.flatten(1)
        # aminmax along a dimension takes 20 times as long on a CPU.
        span = pixels.amax(1) - pixels.amin(1)
        values = values.where((span > 0) & span.isfinite(), float("nan"))
    return values
