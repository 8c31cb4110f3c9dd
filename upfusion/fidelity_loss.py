"""Fidelity to both sources: the loss that goes with the metric `vif_balanced`.

Shape suffixes: B batch, H height, W width.
"""

import torch
from torch import Tensor

from upfusion.blur import gaussian_blur

WINDOWS = (17, 9, 5, 3)  # one a scale, finest first; sigma is a fifth of the size
NOISE = 2.0  # variance of the visual system's noise, on the 0..255 scale
FLAT = 0.1  # information a pixel, in nats, below which a crop counts less
SMALLEST_VARIANCE = 1e-2


def fidelity_loss(a_B1HW: Tensor, b_B1HW: Tensor, fused_B1HW: Tensor, share_B2: Tensor | None = None) -> Tensor:
    """One minus the harmonic mean of the visual information fidelity with each source, over four scales.

    Unlike the mean, the harmonic mean cannot be raised by copying one source and dropping the other. `share_B2` weighs
    A and B in it, by default alike. Lumas are in [0, 1] and at least 41 pixels a side. Sheikh and Bovik 2006,
    https://doi.org/10.1109/TIP.2005.859378
    """
    return 1 - harmonic_mean(fidelity(a_B1HW, b_B1HW, fused_B1HW), share_B2).mean()


def harmonic_mean(value_B2: Tensor, share_B2: Tensor | None = None) -> Tensor:
    """Return the weighted harmonic mean of what is positive, by default with equal shares: (B,)."""
    share_B2 = torch.full_like(value_B2, 0.5) if share_B2 is None else share_B2
    return value_B2.prod(dim=1) / ((value_B2.flip(1) * share_B2).sum(dim=1) + 5e-5)


def fidelity(a_B1HW: Tensor, b_B1HW: Tensor, fused_B1HW: Tensor) -> Tensor:
    """VIF of the fused luma with A and with B, `(B, 2)`, as `upfusion.metrics.vif` but for flat crops.

    FLAT is added to the information there is, so that a crop of nothing but noise pulls little.
    """
    images_B3HW = torch.cat([a_B1HW, b_B1HW, fused_B1HW], dim=1) * 255
    kept_B2, total_B2 = images_B3HW.new_zeros(2, len(images_B3HW), 2)
    for scale, size in enumerate(WINDOWS):
        if scale > 0:
            images_B3HW = gaussian_blur(images_B3HW, size, size / 5, stride=2)
        scale_kept_B2, scale_total_B2 = _information(images_B3HW, size)
        kept_B2, total_B2 = kept_B2 + scale_kept_B2, total_B2 + scale_total_B2
    kept: Tensor = kept_B2 / total_B2
    return kept


def _information(images_B3HW: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Information of A and of B that the fused luma keeps, and that there is, each `(B, 2)`."""
    source_B2HW, fused_B1HW = images_B3HW[:, :2], images_B3HW[:, 2:]
    planes_B8HW = torch.cat([images_B3HW, images_B3HW**2, source_B2HW * fused_B1HW], dim=1)
    blurred_B8HW = gaussian_blur(planes_B8HW, size, size / 5)
    mean_B3HW, square_B3HW, product_B2HW = torch.split(blurred_B8HW, [3, 3, 2], dim=1)
    variance_B3HW = (square_B3HW - mean_B3HW**2).clamp_min(0)
    source_variance_B2HW, fused_variance_B1HW = variance_B3HW[:, :2], variance_B3HW[:, 2:]
    covariance_B2HW = (product_B2HW - mean_B3HW[:, :2] * mean_B3HW[:, 2:]).clamp_min(0)
    explained_B2HW = covariance_B2HW**2 / (source_variance_B2HW + SMALLEST_VARIANCE)
    noise_B2HW = (fused_variance_B1HW - explained_B2HW).clamp_min(0) + NOISE
    kept_B2HW = torch.log1p(explained_B2HW / noise_B2HW)
    total_B2HW = torch.log1p(source_variance_B2HW / NOISE) + FLAT
    return kept_B2HW.sum(dim=(2, 3)), total_B2HW.sum(dim=(2, 3))
