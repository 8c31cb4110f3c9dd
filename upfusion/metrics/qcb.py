"""Q_CB: preservation of contrast as the eye perceives it."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from upfusion.metrics.flat import nan_where_flat
from upfusion.metrics.windows import blur

WINDOW_SIZE = 31
SIGMAS = (2.0, 4.0)  # of the two Gaussians whose ratio is the contrast
# The eye's sensitivity: a wide Gaussian less a narrow one, on frequencies of which 30 pixels make one degree.
PIXELS_PER_DEGREE = 30.0
WIDE, NARROW, NARROW_SHARE = 15.3870, 1.3456, 0.7622
Z = 1e-4


def qcb(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """How much of the sources' local contrast, as the eye perceives it, F has, weighted by its saliency.

    `a, b, f`: luma `(N, 1, H, W)`, 0..255, each stretched to 0..255 in whole levels. Returns `(N,)`, 0..1;
    higher is better. NaN where an image is flat, or all three lack any contrast at some pixel.

    Each image is filtered by exp(-(r / 15.387)^2) - 0.7622 exp(-(r / 1.3456)^2) with r in cycles a degree; its
    contrast is C = |G_2 / G_4 - 1|, G its Gaussians of sigma 2 and 4 in 31x31 windows (zero padding), perceived as
    C^3 / (C^2 + 1e-4). Per source, the smaller of its own and F's over the larger, weighted by the square of the
    source's. In large black areas contrast is rounding, and so is what they contribute.
    Chen and Blum 2009, https://doi.org/10.1016/j.imavis.2007.12.002
    """
    # In float64 whatever the images are: float32 rounds levels half way between two otherwise, and contrast, a ratio,
    # comes of its rounding where an image is black or has the same contrast at both sigmas.
    images = _filtered(_stretched(torch.cat([a, b, f], dim=1).double()))
    padded = functional.pad(images, (WINDOW_SIZE // 2,) * 4)
    narrow, wide = (blur(padded, _gaussian(sigma, images)) for sigma in SIGMAS)
    contrast = narrow.div_(wide).sub_(1).abs_()
    perceived = contrast.pow(3).div_(contrast.square().add_(Z))
    source, fused = perceived[:, :2], perceived[:, 2:]
    quality = torch.minimum(source, fused) / torch.maximum(source, fused)
    weight = source.square()
    value = (quality * weight).sum(1) / weight.sum(1)
    return nan_where_flat(value.mean((1, 2)).to(f.dtype), a, b, f)


def _stretched(images: Tensor) -> Tensor:
    darkest, brightest = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return ((images - darkest) / (brightest - darkest)).mul_(255).add_(0.5).floor_()


def _filtered(images: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    y, x = (
        torch.fft.fftfreq(side, dtype=images.dtype, device=images.device) * (2 * side / PIXELS_PER_DEGREE)
        for side in (height, width)
    )
    square = y[:, None].square() + x[: width // 2 + 1].square()
    sensitivity = (square / -(WIDE**2)).exp_() - NARROW_SHARE * (square / -(NARROW**2)).exp_()
    filtered: Tensor = torch.fft.irfft2(torch.fft.rfft2(images).mul_(sensitivity), s=(height, width))
    return filtered


def _gaussian(sigma: float, like: Tensor) -> Tensor:
    """Not of sum 1: cut off at three or more sigma as it is, and left so, as in the original."""
    offset = torch.arange(WINDOW_SIZE, dtype=like.dtype, device=like.device) - WINDOW_SIZE // 2
    return torch.exp(-(offset**2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)
