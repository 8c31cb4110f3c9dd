"""Q_Y: structural similarity to both sources, or where they differ to the nearer one."""

import torch
from torch import Tensor

from upfusion.metrics.flat import nan_where_flat
from upfusion.metrics.moments import Moments, raw_moments
from upfusion.metrics.strips import strips
from upfusion.metrics.windows import gaussian_window

WINDOW_SIZE = 7
SIGMA = 1.5
SMALLEST_SIDE = 11
C = 2e-16
SIMILAR = 0.75  # SSIM of A and B from which on both count


def qy(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """Structural similarity of F to both sources where they are similar, to the nearer one where they differ.

    `a, b, f`: luma `(N, 1, H, W)`, 0..255. Returns `(N,)`, -1..1; higher is better. NaN where an image is flat,
    a side is under 11 pixels, or the sources share a flat area and rounding alone would decide.

    Mean over the 7x7 Gaussian windows (sigma 1.5) inside the image of l SSIM(A, F) + (1 - l) SSIM(B, F) with
    l = var_A / (var_A + var_B) where SSIM(A, B) is at least 0.75, of the larger of both elsewhere. SSIM is without
    its constants: C1 = C2 = 2e-16.
    Yang et al. 2008, https://doi.org/10.1016/j.inffus.2006.09.001
    """
    if min(f.shape[-2:]) < SMALLEST_SIDE:
        return f.new_full((len(f),), float("nan"))
    # In float64 whatever the images: with nothing added to the variances, rounding would decide in smooth areas.
    images = torch.cat([a, b, f], dim=1).double()
    window = gaussian_window(WINDOW_SIZE, SIGMA, images)
    total = images.new_zeros(len(images))
    for strip in strips(images, WINDOW_SIZE):
        total += _quality(strip, window).sum((1, 2))
    height, width = (side - WINDOW_SIZE + 1 for side in images.shape[-2:])
    return nan_where_flat((total / (height * width)).to(f.dtype), a, b, f)


def _quality(images: Tensor, window: Tensor) -> Tensor:
    """The quality at each window, `(N, h, w)`."""
    moments = raw_moments(images, window)
    variance_a, variance_b = moments.source_variance.unbind(1)
    share = variance_a / (variance_a + variance_b)
    similarity_a, similarity_b = _similarity(moments).unbind(1)
    sources = _similarity(raw_moments(images[:, :2], window))[:, 0]
    both = share * similarity_a + (1 - share) * similarity_b
    nearer = torch.maximum(similarity_a, similarity_b)
    quality = both.where((sources >= SIMILAR) | share.isnan(), nearer)
    # 0 / 0 where both sources are flat; 0 but for rounding over 0 but for rounding leaves the range.
    return quality.where(quality.abs() < 1 + 1e-6, float("nan"))


def _similarity(moments: Moments) -> Tensor:
    source_mean, fused_mean, source_variance, fused_variance, covariance = moments
    numerator = (source_mean * fused_mean).mul_(2).add_(C).mul_(covariance.mul_(2).add_(C))
    mean_square = source_mean.square().addcmul_(fused_mean, fused_mean).add_(C)
    return numerator.div_(mean_square.mul_((source_variance + fused_variance).add_(C)))
