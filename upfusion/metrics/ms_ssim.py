"""MS-SSIM: structural similarity at five scales."""

import torch
from torch import Tensor
from torch.nn import functional

from upfusion.metrics.flat import nan_where_flat
from upfusion.metrics.moments import Moments, raw_moments
from upfusion.metrics.ssim import C2, SIGMA, WINDOW_SIZE, similarity
from upfusion.metrics.strips import strips
from upfusion.metrics.windows import gaussian_window

EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # one a scale, finest first
SMALLEST_SIDE = (WINDOW_SIZE - 1) * 2 ** (len(EXPONENTS) - 1) + 1  # leaves one window at the coarsest scale


def ms_ssim(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """Multi-scale structural similarity: mean of MS-SSIM(A, F) and MS-SSIM(B, F).

    `a, b, f`: luma `(N, 1, H, W)`, 0..255. Returns `(N,)`, 0..1; higher is better. NaN where an image is
    flat or a side is under 161 pixels.

    MS-SSIM(S, F) is the product over five scales, each half the size of the one before, of the mean of
    (2 cov + C2) / (var_S + var_F + C2), at the coarsest scale of the whole SSIM, to the powers 0.0448, 0.2856,
    0.3001, 0.2363 and 0.1333; a negative mean counts as 0. Windows and constants are those of SSIM.
    Wang, Simoncelli and Bovik 2003, https://doi.org/10.1109/ACSSC.2003.1292216
    """
    return nan_where_flat(ms_ssim_per_source(a, b, f).mean(1), a, b, f)


def ms_ssim_per_source(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """MS-SSIM(A, F) and MS-SSIM(B, F), as `(N, 2)`; NaN where a side is under 161 pixels."""
    images = torch.cat([a, b, f], dim=1)
    if min(images.shape[-2:]) < SMALLEST_SIDE:
        return images.new_full((len(images), 2), float("nan"))
    # pytorch-msssim, which the field measures with, always rounds its window to float32: it sums to 1 - 4e-8,
    # which is why the moments have to be counted from 0.
    window = gaussian_window(WINDOW_SIZE, SIGMA, images.float()).to(images.dtype)
    product = images.new_ones(len(images), 2)
    for scale, exponent in enumerate(EXPONENTS):
        if scale > 0:
            odd_height, odd_width = (side % 2 for side in images.shape[-2:])
            images = functional.avg_pool2d(images, 2, padding=(odd_height, odd_width))
        coarsest = scale == len(EXPONENTS) - 1
        product *= _mean_similarity(images, window, whole=coarsest).clamp_min_(0).pow_(exponent)
    return product


def _mean_similarity(images: Tensor, window: Tensor, *, whole: bool) -> Tensor:
    """Mean of the SSIM, or of its structure alone, of A and of B against F, `(N, 2)`."""
    total = images.new_zeros(len(images), 2)
    for strip in strips(images, WINDOW_SIZE):
        moments = raw_moments(strip, window)
        total += (similarity(moments) if whole else _structure(moments)).sum((2, 3))
    height, width = (side - WINDOW_SIZE + 1 for side in images.shape[-2:])
    return total / (height * width)


def _structure(moments: Moments) -> Tensor:
    variance = moments.source_variance + moments.fused_variance
    return moments.covariance.mul_(2).add_(C2).div_(variance.add_(C2))
