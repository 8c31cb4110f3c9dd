"""The training loss: intensity, gradient and structure of the fused luma against both sources.

All functions take luma `(B, 1, H, W)` in [0, 1] and return a scalar.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the terms; the paper has 1, 1 and 0 (arXiv 2511.12432, section "Loss")."""

    intensity: float = 1.0
    gradient: float = 1.0
    structure: float = 0.0


def fusion_loss(a: Tensor, b: Tensor, fused: Tensor, weights: LossWeights) -> dict[str, Tensor]:
    """Return every term and their weighted sum under the name `loss`."""
    terms = {"intensity": intensity_loss(a, b, fused), "gradient": gradient_loss(a, b, fused)}
    loss = weights.intensity * terms["intensity"] + weights.gradient * terms["gradient"]
    if weights.structure:
        terms["structure"] = structure_loss(a, b, fused)
        loss = loss + weights.structure * terms["structure"]
    return {"loss": loss, **terms}


def intensity_loss(a: Tensor, b: Tensor, fused: Tensor) -> Tensor:
    """L1 distance to the element-wise maximum of both sources."""
    return F.l1_loss(fused, torch.maximum(a, b))


def gradient_loss(a: Tensor, b: Tensor, fused: Tensor) -> Tensor:
    """L1 distance of the Sobel gradient to the element-wise maximum of both sources' gradients."""
    return F.l1_loss(sobel_magnitude(fused), torch.maximum(sobel_magnitude(a), sobel_magnitude(b)))


def structure_loss(a: Tensor, b: Tensor, fused: Tensor) -> Tensor:
    """One minus the mean SSIM of the fused luma with each source (Wang et al. 2004, doi:10.1109/TIP.2003.819861)."""
    return 1 - (_ssim(a, fused) + _ssim(b, fused)) / 2


def sobel_magnitude(x_B1HW: Tensor) -> Tensor:
    """Sum of the absolute horizontal and vertical Sobel responses, borders reflected: (B, 1, H, W)."""
    kernel = x_B1HW.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack([kernel, kernel.T])[:, None]
    responses = F.conv2d(F.pad(x_B1HW, (1, 1, 1, 1), mode="reflect"), kernels)
    return responses.abs().sum(dim=1, keepdim=True)


def _ssim(x_B1HW: Tensor, y_B1HW: Tensor) -> Tensor:
    """Mean SSIM over 11x11 Gaussian windows of sigma 1.5, for images in [0, 1]."""
    offsets = torch.arange(11, dtype=x_B1HW.dtype, device=x_B1HW.device) - 5
    window = torch.softmax(-(offsets**2) / (2 * 1.5**2), dim=0)
    planes = torch.cat([x_B1HW, y_B1HW, x_B1HW**2, y_B1HW**2, x_B1HW * y_B1HW], dim=0)
    blurred = F.conv2d(F.conv2d(planes, window.view(1, 1, 1, 11)), window.view(1, 1, 11, 1))
    mean_x, mean_y, square_x, square_y, product = blurred.chunk(5)
    variance_x, variance_y = square_x - mean_x**2, square_y - mean_y**2
    covariance = product - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return (similarity / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))).mean()
