"""GAM: geometric affine modulation (UP-Fusion, arXiv 2511.12432, section "GAM").

Shape suffixes: B batch, C channels, H height, W width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GeometricAffineModulation(nn.Module):
    """Scale and shift shared features by what is special to one source: `F * (1 + gamma) + beta`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels, 1)
        self.to_affine = nn.Conv2d(channels, 2 * channels, 1)

    def forward(self, shared_BCHW: Tensor, source_BCHW: Tensor) -> Tensor:
        """Modulate the shared features by the patch embedding of the source, both (B, C, H, W)."""
        pooled_BC11 = source_BCHW.mean(dim=(2, 3), keepdim=True)
        gamma_BC11, beta_BC11 = self.to_affine(F.relu(self.squeeze(pooled_BC11))).chunk(2, dim=1)
        return torch.addcmul(beta_BC11, shared_BCHW, 1 + gamma_BC11)
