"""Pearson's correlation of whole images."""

from torch import Tensor


def centred(image: Tensor) -> Tensor:
    """Subtract the mean of each image `(N, 1, H, W)`; returns `(N, H * W)`."""
    pixels = image.flatten(1)
    return pixels - pixels.mean(1, keepdim=True)


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's correlation of centred images `(N, P)`, in -1..1; NaN where one of them is zero."""
    return (x * y).sum(1) / (x.square().sum(1).sqrt() * y.square().sum(1).sqrt())
