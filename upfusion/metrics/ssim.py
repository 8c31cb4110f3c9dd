"""SSIM: structural similarity."""

import torch
from torch import Tensor

from upfusion.metrics.flat import nan_where_flat
from upfusion.metrics.moments import Moments, local_moments
from upfusion.metrics.strips import strips
from upfusion.metrics.windows import gaussian_window

WINDOW_SIZE = 11
SIGMA = 1.5
C1 = (0.01 * 255) ** 2
C2 = (0.03 * 255) ** 2


def ssim(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """Structural similarity: mean of SSIM(A, F) and SSIM(B, F).

    `a, b, f`: luma `(N, 1, H, W)`, 0..255. Returns `(N,)`, -1..1; higher is better. NaN where an image is
    flat or a side is under 11 pixels.

    SSIM(S, F) is the mean, over all 11x11 Gaussian windows (sigma 1.5) inside the image, of
    (2 m_S m_F + C1)(2 cov + C2) / ((m_S^2 + m_F^2 + C1)(var_S + var_F + C2)), C1 = 2.55^2, C2 = 7.65^2.
    Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861
    """
    return nan_where_flat(ssim_per_source(a, b, f).mean(1), a, b, f)


def ssim_per_source(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """SSIM(A, F) and SSIM(B, F), as `(N, 2)`; NaN where a side is under 11 pixels."""
    images = torch.cat([a, b, f], dim=1)
    height, width = (max(side - WINDOW_SIZE + 1, 0) for side in images.shape[-2:])
    total = images.new_zeros(len(images), 2)
    if height * width > 0:
        window = gaussian_window(WINDOW_SIZE, SIGMA, images)
        for strip in strips(images, WINDOW_SIZE):
            total += similarity(local_moments(strip, window)).sum((2, 3))
    return total / (height * width)


def similarity(moments: Moments) -> Tensor:
    """The SSIM maps of A and of B against F, `(N, 2, h, w)`; uses up the moments."""
    source_mean, fused_mean, source_variance, fused_variance, covariance = moments
    numerator = (source_mean * fused_mean).mul_(2).add_(C1).mul_(covariance.mul_(2).add_(C2))
    luminance = (source_mean.square() + fused_mean.square()).add_(C1)
    return numerator.div_(luminance.mul_((source_variance + fused_variance).add_(C2)))
