"""Means, variances and covariances in a window around every pixel, as SSIM, VIF and Q_P need them."""

from typing import NamedTuple

import torch
from torch import Tensor

from upfusion.metrics.windows import blur


class Moments(NamedTuple):
    """Local moments of the sources `(N, S, h, w)` and of the fused image `(N, 1, h, w)`."""

    source_mean: Tensor
    fused_mean: Tensor
    source_variance: Tensor
    fused_variance: Tensor
    covariance: Tensor


def local_moments(images: Tensor, window: Tensor) -> Moments:
    """Moments of the sources and, as the last channel, F under `window`, no variance under 0."""
    # Counted from 0, float32 leaves 0.005 of rounding in the variance of a bright flat image; from the darkest
    # pixel nearly none. Black surroundings, where VIF divides by tiny variances, stay exactly 0.
    darkest = images.amin((2, 3), keepdim=True)
    moments = raw_moments(images - darkest, window)
    return Moments(
        moments.source_mean + darkest[:, :-1],
        moments.fused_mean + darkest[:, -1:],
        moments.source_variance.clamp_min_(0),
        moments.fused_variance.clamp_min_(0),
        moments.covariance,
    )


def raw_moments(images: Tensor, window: Tensor) -> Moments:
    """As `local_moments`, but E[xy] - E[x]E[y] as it is: where two images are equal, so are all their moments.

    The window is not padded. All sources are weighed against F in one pass: for two of them eight filtered maps,
    where separate comparisons need ten.
    """
    channels = images.shape[1]
    maps = torch.cat([images, images.square(), images[:, :-1] * images[:, -1:]], dim=1)
    blurred = blur(maps, window)
    mean, square, product = blurred[:, :channels], blurred[:, channels : 2 * channels], blurred[:, 2 * channels :]
    variance = square - mean.square()
    covariance = product - mean[:, :-1] * mean[:, -1:]
    return Moments(mean[:, :-1], mean[:, -1:], variance[:, :-1], variance[:, -1:], covariance)
