"""Preservation of features: the loss that goes with the metric `qp`, for crops.

Shape suffixes: B batch, K kinds of map (phase congruency, largest and smallest moment), S sources (A, B and, at each
pixel, the one with more phase congruency), N scales, H height, W width.
"""

import math

import torch
from torch import Tensor

from upfusion.blur import gaussian_blur
from upfusion.metrics.phase_congruency import (
    EPSILON,
    ORIENTATIONS,
    SCALES,
    SPREAD_CUTOFF,
    SPREAD_GAIN,
    log_gabor_filters,
)

FEATURE = 0.1  # phase congruency above which a pixel of a source is a feature
WINDOW, SIGMA = 11, 1.5
BORDER = 8  # pixels of a crop that do not count: the filters take its borders as periodic
FEW = 100  # features; a crop of fewer counts less
SMALLEST_SQUARE = 1e-8  # keeps the gradient of a root finite


def feature_loss(a_B1HW: Tensor, b_B1HW: Tensor, fused_B1HW: Tensor) -> Tensor:
    """One minus how well the phase congruency of the sources, and its moments, are kept: the mean of Q_P's factors.

    At every pixel the source that is kept best counts, whatever its contrast. Lumas are in [0, 1].
    Zhao et al. 2007; Liu et al. 2012, https://doi.org/10.1109/TPAMI.2011.109
    """
    with torch.no_grad():
        source_BKSHW, mask_B1SHW = _source_maps(a_B1HW, b_B1HW)
    fused_BK1HW = congruency_maps(fused_B1HW)[:, :, None]
    inner = (..., slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    outer = BORDER - WINDOW // 2
    agreement_BKSHW = _agreement(source_BKSHW, fused_BK1HW)[..., outer:-outer, outer:-outer]
    best_BKHW = (agreement_BKSHW * mask_B1SHW[inner]).amax(dim=2)
    features_B1 = mask_B1SHW[:, :, 2][inner].sum(dim=(2, 3))
    kept_BK = best_BKHW.sum(dim=(2, 3)) / (features_B1 + FEW)
    return 1 - kept_BK.mean()


def congruency_maps(x_B1HW: Tensor) -> Tensor:
    """Phase congruency, and the largest and smallest moment of its covariance, of luma in [0, 1]: (B, K, H, W).

    As `upfusion.metrics.phase_congruency`, with a gradient, and crops side by side. The noise threshold has none.
    """
    height, width = x_B1HW.shape[-2:]
    filters = log_gabor_filters(height, width, x_B1HW.dtype, x_B1HW.device)
    radial_NHW = filters.radial.contiguous()
    spectrum_BNHW = torch.fft.rfft2(x_B1HW * 255) * radial_NHW
    strength = amplitudes = xx = yy = xy = x_B1HW.new_zeros(())
    for orientation in range(ORIENTATIONS):
        even, odd = filters.even[orientation].contiguous(), filters.odd[orientation].contiguous()
        real_BNHW = torch.fft.irfft2(spectrum_BNHW * even, s=(height, width))
        imaginary_BNHW = torch.fft.irfft2(spectrum_BNHW * (-1j * odd), s=(height, width))
        energy, amplitude = _energy(real_BNHW, imaginary_BNHW, filters.noise[orientation])
        strength, amplitudes = strength + energy, amplitudes + amplitude
        square = (energy / (amplitude + EPSILON)) ** 2
        angle = orientation * math.pi / ORIENTATIONS
        xx = xx + square * (math.cos(angle) ** 2 / 3)
        yy = yy + square * (math.sin(angle) ** 2 / 3)
        xy = xy + square * (math.cos(angle) * math.sin(angle) / 6)
    difference = ((xx - yy) ** 2 + xy**2 + SMALLEST_SQUARE).sqrt()
    trace = xx + yy
    return torch.stack([strength / (amplitudes + EPSILON), (trace + difference) / 2, (trace - difference) / 2], dim=1)


def _energy(real_BNHW: Tensor, imaginary_BNHW: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Weighted local energy above the noise, and the sum of the amplitudes, of one orientation, (B, H, W)."""
    amplitude_BNHW = (real_BNHW**2 + imaginary_BNHW**2 + SMALLEST_SQUARE).sqrt()
    threshold = noise * amplitude_BNHW[:, 0].detach().flatten(1).median(dim=1).values[:, None, None]
    amplitude = amplitude_BNHW.sum(1)
    spread = amplitude / (amplitude_BNHW.amax(1) + EPSILON) / SCALES
    real, imaginary = real_BNHW.sum(1), imaginary_BNHW.sum(1)
    across = (real_BNHW * imaginary[:, None] - imaginary_BNHW * real[:, None]).abs().sum(1)
    along = real**2 + imaginary**2
    energy = ((along - across) / ((along + SMALLEST_SQUARE).sqrt() + EPSILON) - threshold).clamp_min(0)
    return energy * ((spread - SPREAD_CUTOFF) * SPREAD_GAIN).sigmoid(), amplitude


def _source_maps(a_B1HW: Tensor, b_B1HW: Tensor) -> tuple[Tensor, Tensor]:
    """Maps of the sources, zero where there is no feature, (B, K, S, H, W), and where there is one."""
    maps_a, maps_b = congruency_maps(torch.cat([a_B1HW, b_B1HW])).chunk(2)
    strongest = torch.where(maps_a[:, :1] > maps_b[:, :1], maps_a, maps_b)
    maps_BKSHW = torch.stack([maps_a, maps_b, strongest], dim=2)
    mask_B1SHW = (maps_BKSHW[:, :1] > FEATURE).to(maps_BKSHW)
    return maps_BKSHW * mask_B1SHW, mask_B1SHW


def _agreement(source_BKSHW: Tensor, fused_BK1HW: Tensor) -> Tensor:
    """Correlation of the maps in Gaussian windows inside the crop: (B, K, S, H, W), less the windows' borders."""
    planes = torch.cat([source_BKSHW, source_BKSHW**2, fused_BK1HW, fused_BK1HW**2, source_BKSHW * fused_BK1HW], dim=2)
    blurred = gaussian_blur(planes.flatten(0, 1), WINDOW, SIGMA)
    blurred = blurred.reshape(*planes.shape[:2], *blurred.shape[1:])
    source, source_square, fused, fused_square, product = torch.split(blurred, [3, 3, 1, 1, 3], dim=2)
    variances = (source_square - source**2).clamp_min(0) * (fused_square - fused**2).clamp_min(0)
    correlation: Tensor = (product - source * fused + 1e-4) / (variances + SMALLEST_SQUARE).sqrt()
    return correlation
