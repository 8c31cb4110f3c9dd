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
from upfusion.fidelity_loss import fidelity_loss

Term = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the terms; the paper has 1, 1 and 0 (arXiv 2511.12432, section "Loss")."""

    intensity: float = 1.0
    gradient: float = 1.0
    structure: float = 0.0
    fidelity: float = 0.0
    feature: float = 0.0


def fusion_loss(a: Tensor, b: Tensor, fused: Tensor, weights: LossWeights) -> dict[str, Tensor]:
    """Return every term that has a weight, and their weighted sum under the name `loss`; each is a mean over crops."""
    wanted: dict[str, tuple[float, Term]] = {
        "intensity": (weights.intensity, intensity_loss),
        "gradient": (weights.gradient, gradient_loss),
        "structure": (weights.structure, structure_loss),
        "fidelity": (weights.fidelity, fidelity_loss),
        "feature": (weights.feature, feature_loss),
    }
    terms = {name: term(a, b, fused) for name, (weight, term) in wanted.items() if weight}
    return {"loss": torch.stack([wanted[name][0] * value for name, value in terms.items()]).sum(), **terms}


def intensity_loss(a: Tensor, b: Tensor, fused: Tensor) -> Tensor:
    """L1 distance to the element-wise maximum of both sources."""
    return F.l1_loss(fused, torch.maximum(a, b))


def gradient_loss(a: Tensor, b: Tensor, fused: Tensor) -> Tensor:
    """L1 distance of the Sobel gradient to the element-wise maximum of both sources' gradients."""
    return F.l1_loss(sobel_magnitude(fused), torch.maximum(sobel_magnitude(a), sobel_magnitude(b)))


def structure_loss(a_B1HW: Tensor, b_B1HW: Tensor, fused_B1HW: Tensor) -> Tensor:
    """One minus the mean SSIM of the fused luma with each source (Wang et al. 2004, doi:10.1109/TIP.2003.819861)."""
    images_B3HW = torch.cat([a_B1HW, b_B1HW, fused_B1HW], dim=1)
    planes_B8HW = torch.cat([images_B3HW, images_B3HW**2, images_B3HW[:, :2] * fused_B1HW], dim=1)
    blurred_B8HW = gaussian_blur(planes_B8HW, 11, 1.5)
    mean_B3HW, square_B3HW, product_B2HW = torch.split(blurred_B8HW, [3, 3, 2], dim=1)
    variance_B3HW = square_B3HW - mean_B3HW**2
    covariance_B2HW = product_B2HW - mean_B3HW[:, :2] * mean_B3HW[:, 2:]
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_B3HW[:, :2] * mean_B3HW[:, 2:] + c1) * (2 * covariance_B2HW + c2)
    energy = (mean_B3HW[:, :2] ** 2 + mean_B3HW[:, 2:] ** 2 + c1) * (variance_B3HW[:, :2] + variance_B3HW[:, 2:] + c2)
    loss: Tensor = 1 - (similarity / energy).mean()
    return loss


def sobel_magnitude(x_B1HW: Tensor) -> Tensor:
    """Sum of the absolute horizontal and vertical Sobel responses, borders reflected: (B, 1, H, W)."""
    kernel = x_B1HW.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack([kernel, kernel.T])[:, None]
    responses = F.conv2d(F.pad(x_B1HW, (1, 1, 1, 1), mode="reflect"), kernels)
    return responses.abs().sum(dim=1, keepdim=True)
