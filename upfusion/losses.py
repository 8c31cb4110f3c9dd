"""The training loss: intensity, gradient, structure, fidelity and features of the fused luma against both sources.

All functions take luma `(B, 1, H, W)` in [0, 1] and return a scalar.

Shape suffixes: B batch, H height, W width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from upfusion.blur import gaussian_blur
from upfusion.feature_loss import feature_loss
from upfusion.fidelity_loss import fidelity_loss, harmonic_mean

SMALLEST_SIMILARITY = 0.02
"""SSIM can be negative, of which there is no harmonic mean."""

Term = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

WISHES = 4
"""Columns of `wish_BW`: balance, hot, dark and quiet (`upfusion.phrases.Wish`)."""


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the terms; the paper has intensity 1, gradient 1 and no other (arXiv 2511.12432, section "Loss")."""

    intensity: float = 1.0
    gradient: float = 1.0
    overshoot: float = 0.0
    structure: float = 0.0
    fidelity: float = 0.0
    feature: float = 0.0
    bounds: float = 0.0
    wishes: float = 0.0


def fusion_loss(
    a: Tensor, b: Tensor, fused: Tensor, weights: LossWeights, wish_BW: Tensor | None = None, feature_share: float = 1.0
) -> dict[str, Tensor]:
    """Return every term that has a weight, and their weighted sum under the name `loss`; each is a mean over crops.

    `wish_BW` says what each crop's text and balance ask for; by default nothing. `feature` takes as long as all other
    terms together, so it may be computed on the first `feature_share` of the crops alone.
    """
    wish_BW = a.new_zeros(len(a), WISHES) if wish_BW is None else wish_BW
    wanted: dict[str, tuple[float, Term]] = {
        "intensity": (weights.intensity, intensity_loss),
        "gradient": (weights.gradient, gradient_loss),
        "overshoot": (weights.overshoot, overshoot_loss),
        "structure": (weights.structure, structure_loss),
        "fidelity": (weights.fidelity, _fidelity_loss),
        "feature": (weights.feature, _feature_loss),
        "bounds": (weights.bounds, bounds_loss),
        "wishes": (weights.wishes, wishes_loss),
    }
    looked_at = {"feature": max(1, round(feature_share * len(a)))}
    crops = {name: slice(looked_at.get(name, len(a))) for name in wanted}
    terms = {
        name: term(a[crops[name]], b[crops[name]], fused[crops[name]], wish_BW[crops[name]])
        for name, (weight, term) in wanted.items()
        if weight
    }
    return {"loss": torch.stack([wanted[name][0] * value for name, value in terms.items()]).sum(), **terms}


def shares(wish_BW: Tensor) -> Tensor:
    """Return the shares of A and B in fidelity and structure, (B, 2): half each at balance 0, .1 and .9 at its ends."""
    toward_b_B = 0.5 + 0.4 * wish_BW[:, 0]
    return torch.stack([1 - toward_b_B, toward_b_B], dim=1)


def intensity_loss(a: Tensor, b: Tensor, fused: Tensor, _: Tensor) -> Tensor:
    """L1 distance to the element-wise maximum of both sources."""
    return F.l1_loss(fused, torch.maximum(a, b))


def gradient_loss(a: Tensor, b: Tensor, fused: Tensor, wish_BW: Tensor) -> Tensor:
    """L1 distance of the Sobel gradient to the element-wise maximum of both sources' gradients.

    At the ends of the balance the gradient of the other source counts half: its strong edges stay.
    """
    return F.l1_loss(sobel_magnitude(fused), _target_gradient(a, b, wish_BW))


def overshoot_loss(a: Tensor, b: Tensor, fused: Tensor, _: Tensor) -> Tensor:
    """Mean of what the Sobel gradient has beyond that of both sources: halos, and amplified noise."""
    larger = torch.maximum(sobel_magnitude(a), sobel_magnitude(b))
    return (sobel_magnitude(fused) - larger).clamp_min(0).mean()


def structure_loss(a_B1HW: Tensor, b_B1HW: Tensor, fused_B1HW: Tensor, wish_BW: Tensor) -> Tensor:
    """One minus the harmonic mean of the SSIM with each source (Wang et al. 2004, doi:10.1109/TIP.2003.819861).

    The authors' option is the plain mean, which a copy of one source satisfies by half.
    """
    images_B3HW = torch.cat([a_B1HW, b_B1HW, fused_B1HW], dim=1)
    planes_B8HW = torch.cat([images_B3HW, images_B3HW**2, images_B3HW[:, :2] * fused_B1HW], dim=1)
    blurred_B8HW = gaussian_blur(planes_B8HW, 11, 1.5)
    mean_B3HW, square_B3HW, product_B2HW = torch.split(blurred_B8HW, [3, 3, 2], dim=1)
    variance_B3HW = square_B3HW - mean_B3HW**2
    covariance_B2HW = product_B2HW - mean_B3HW[:, :2] * mean_B3HW[:, 2:]
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_B3HW[:, :2] * mean_B3HW[:, 2:] + c1) * (2 * covariance_B2HW + c2)
    energy = (mean_B3HW[:, :2] ** 2 + mean_B3HW[:, 2:] ** 2 + c1) * (variance_B3HW[:, :2] + variance_B3HW[:, 2:] + c2)
    ssim_B2 = (similarity / energy).mean(dim=(2, 3)).clamp_min(SMALLEST_SIMILARITY)
    return 1 - harmonic_mean(ssim_B2, shares(wish_BW)).mean()


def bounds_loss(_: Tensor, __: Tensor, fused: Tensor, ___: Tensor) -> Tensor:
    """Mean of how far luma lies outside [0, 1]."""
    return (F.relu(fused - 1) + F.relu(-fused)).mean()


def wishes_loss(a_B1HW: Tensor, b_B1HW: Tensor, fused_B1HW: Tensor, wish_BW: Tensor) -> Tensor:
    """What is left to do of the wishes: bright targets stay bright, the dark is lifted, flat areas are smooth.

    A quarter of the first is wished for always, so that no balance makes a person vanish.
    """
    _, hot_B, dark_B, quiet_B = wish_BW.unbind(dim=1)
    brighter_B1HW = torch.maximum(a_B1HW, b_B1HW)
    missing_B = _bright_targets_missing(brighter_B1HW, fused_B1HW) * (0.25 + 0.75 * hot_B)
    unlit_B = _mean(F.relu(_lifted(blur_inside(brighter_B1HW)) - blur_inside(fused_B1HW)))
    noise_B = _noise_in_flat_areas(a_B1HW, b_B1HW, fused_B1HW)
    return (missing_B + 4 * dark_B * unlit_B + 10 * quiet_B * noise_B).mean()


def _bright_targets_missing(brighter_B1HW: Tensor, fused_B1HW: Tensor) -> Tensor:
    """How much darker than the brighter source the result is where that stands out: (B,)."""
    deviation, mean = torch.std_mean(brighter_B1HW, dim=(2, 3), keepdim=True)
    target_B1HW = ((brighter_B1HW - mean - 1.5 * deviation) / 0.05).clamp(0, 1)
    return (target_B1HW * F.relu(brighter_B1HW - fused_B1HW)).sum((1, 2, 3)) / (target_B1HW.sum((1, 2, 3)) + 100)


def _lifted(x_B1HW: Tensor) -> Tensor:
    """Raise what is darker than 0.4 by a gamma of 0.6."""
    return torch.where(x_B1HW < 0.4, 0.4 * (x_B1HW / 0.4).clamp_min(1e-3) ** 0.6, 0.0)


def _noise_in_flat_areas(a_B1HW: Tensor, b_B1HW: Tensor, fused_B1HW: Tensor) -> Tensor:
    """Mean absolute finest detail of the result where both sources are flat at a coarser scale: (B,)."""
    steepest = torch.maximum(*(sobel_magnitude(blur_inside(x)) for x in (a_B1HW, b_B1HW)))
    flat_B1HW = torch.exp(-((steepest / 0.1) ** 2))
    margin = (fused_B1HW.shape[-1] - flat_B1HW.shape[-1]) // 2
    inside = (..., slice(margin, -margin), slice(margin, -margin))
    return _mean(flat_B1HW * (fused_B1HW[inside] - blur_inside(fused_B1HW)).abs())


def blur_inside(x_B1HW: Tensor) -> Tensor:
    """Blur by a Gaussian of 2 pixels, which costs 6 pixels on each side."""
    return gaussian_blur(x_B1HW, 13, 2.0)


def _target_gradient(a: Tensor, b: Tensor, wish_BW: Tensor) -> Tensor:
    balance = wish_BW[:, 0, None, None, None]
    weight_a, weight_b = 1 - 0.5 * balance.clamp_min(0), 1 + 0.5 * balance.clamp_max(0)
    return torch.maximum(weight_a * sobel_magnitude(a), weight_b * sobel_magnitude(b))


def _fidelity_loss(a: Tensor, b: Tensor, fused: Tensor, wish_BW: Tensor) -> Tensor:
    return fidelity_loss(a, b, fused, shares(wish_BW))


def _feature_loss(a: Tensor, b: Tensor, fused: Tensor, _: Tensor) -> Tensor:
    return feature_loss(a, b, fused)


def _mean(x_B1HW: Tensor) -> Tensor:
    return x_B1HW.mean(dim=(1, 2, 3))


def sobel_magnitude(x_B1HW: Tensor) -> Tensor:
    """Sum of the absolute horizontal and vertical Sobel responses, borders reflected: (B, 1, H, W)."""
    kernel = x_B1HW.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack([kernel, kernel.T])[:, None]
    responses = F.conv2d(F.pad(x_B1HW, (1, 1, 1, 1), mode="reflect"), kernels)
    return responses.abs().sum(dim=1, keepdim=True)
