"""Histograms over the 256 levels of an 8-bit image, on the device of the image."""

import math

import torch
from torch import Tensor

LEVELS = 256


def levels(image: Tensor) -> Tensor:
    """Round an image `(N, 1, H, W)` to whole levels 0..255, halves to even; returns integers `(N, P)`."""
    return image.flatten(1).round().clamp_(0, LEVELS - 1).nan_to_num_(0).to(torch.int32)


def joint_histogram(x: Tensor, y: Tensor) -> Tensor:
    """Count the pairs of levels of two images `(N, P)`; returns `(N, 256, 256)`, x along the rows."""
    batch = len(x)
    image = torch.arange(batch, dtype=x.dtype, device=x.device)[:, None]
    cell = (image * LEVELS + x).mul_(LEVELS).add_(y)
    return torch.bincount(cell.flatten(), minlength=batch * LEVELS**2).view(batch, LEVELS, LEVELS)


def histogram(x: Tensor) -> Tensor:
    """Count the levels of an image `(N, P)`; returns `(N, 256)`."""
    image = torch.arange(len(x), dtype=x.dtype, device=x.device)[:, None]
    return torch.bincount((image * LEVELS + x).flatten(), minlength=len(x) * LEVELS).view(-1, LEVELS)


def entropy(counts: Tensor, dtype: torch.dtype) -> Tensor:
    """Shannon entropy in bits of the distribution that `counts` `(N, ...)` describe, computed in `dtype`."""
    counts = counts.flatten(1).to(dtype)
    share = counts / counts.sum(1, keepdim=True)
    nats: Tensor = torch.special.entr(share).sum(1)
    return nats / math.log(2)
