"""VIF: visual information fidelity."""

import torch
from torch import Tensor
from torch.nn import functional

from upfusion.metrics.flat import nan_where_flat
from upfusion.metrics.moments import local_moments
from upfusion.metrics.strips import strips
from upfusion.metrics.windows import blur, gaussian_window

WINDOW_SIZES = (17, 9, 5, 3)  # one a scale, finest first; sigma is a fifth of the size
NOISE_VARIANCE = 2.0  # of the visual system, on the 0..255 scale
SMALLEST_SIDE = 41  # leaves one window at the coarsest scale
EPSILON = 1e-10  # a source of no more variance is flat


def vif(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """Visual information fidelity in the pixel domain: mean of F against A and F against B.

    `a, b, f`: luma `(N, 1, H, W)`, 0..255. Returns `(N,)`, 0 to about 1 (above 1 where F has more contrast
    than a source); higher is better. NaN where an image is flat or a side is under 41 pixels.

    Per source S: sum log(1 + g^2 var_S / (v + 2)) / sum log(1 + var_S / 2) over all pixels of four scales,
    with g = cov(S, F) / var_S and v = var_F - g cov(S, F) in Gaussian windows of 17, 9, 5 and 3 pixels.
    Sheikh and Bovik 2006, https://doi.org/10.1109/TIP.2005.859378
    """
    return nan_where_flat(vif_per_source(a, b, f).mean(1), a, b, f)


def vif_per_source(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """VIF of F against A and against B, as `(N, 2)`; NaN where a side is under 41 pixels."""
    images = torch.cat([a, b, f], dim=1)
    kept = images.new_zeros(len(images), 2)
    total = images.new_zeros(len(images), 2)
    if min(images.shape[-2:]) < SMALLEST_SIDE:
        return kept / total
    for scale, size in enumerate(WINDOW_SIZES):
        window = gaussian_window(size, size / 5, images)
        if scale > 0:
            images = torch.cat([blur(strip, window, stride=2) for strip in strips(images, size)], dim=2)
        for strip in strips(images, size):
            strip_kept, strip_total = _information(strip, window)
            kept += strip_kept
            total += strip_total
    return kept / total


def _information(images: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """Information of A and of B that F keeps, and that there is, each `(N, 2)`; channels are A, B, F."""
    moments = local_moments(images, window)
    source = functional.threshold(moments.source_variance, EPSILON, 0)
    covariance = moments.covariance.clamp_min_(0)
    gain = covariance / (source + EPSILON)
    noise = torch.addcmul(moments.fused_variance, gain, covariance, value=-1).clamp_min_(0).add_(NOISE_VARIANCE)
    kept = gain.square_().mul_(source).div_(noise).log1p_()
    total = source.div_(NOISE_VARIANCE).log1p_()
    return kept.sum((2, 3)), total.sum((2, 3))
