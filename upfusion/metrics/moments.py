"""Means, variances and covariances in a window around every pixel, as SSIM and VIF need them."""

from typing import NamedTuple

import torch
from torch import Tensor

from upfusion.metrics.windows import blur


class Moments(NamedTuple):
    """Local moments of both sources `(N, 2, h, w)` and of the fused image `(N, 1, h, w)`."""

    source_mean: Tensor
    fused_mean: Tensor
    source_variance: Tensor
    fused_variance: Tensor
    covariance: Tensor


def local_moments(images: Tensor, window: Tensor) -> Moments:
    """Moments of the channels A, B, F under `window`, without padding: E[xy] - E[x]E[y], no variance under 0.

    A and B are weighed against F in one pass: eight filtered maps where two separate comparisons need ten.
    """
    # Counted from 0, float32 leaves 0.005 of rounding in the variance of a bright flat image; from the darkest
    # pixel nearly none. Black surroundings, where VIF divides by tiny variances, stay exactly 0.
    darkest = images.amin((2, 3), keepdim=True)
    images = images - darkest
    maps = torch.cat([images, images.square(), images[:, :2] * images[:, 2:]], dim=1)
    blurred = blur(maps, window)
    mean, square, product = blurred[:, :3], blurred[:, 3:6], blurred[:, 6:]
    variance = (square - mean.square()).clamp_min_(0)
    covariance = product - mean[:, :2] * mean[:, 2:]
    mean = mean + darkest
    return Moments(mean[:, :2], mean[:, 2:], variance[:, :2], variance[:, 2:], covariance)
