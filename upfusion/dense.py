"""Encoder levels and decoder of dense 3x3 convolutions: what a CPU runs fastest, at low resolution.

Shape suffixes: B batch, C channels, H height, W width.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


class DenseBlock(nn.Module):
    """Two dense 3x3 convolutions whose result is added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        changed: Tensor = self.second(F.relu(self.first(x_BCHW), inplace=True))
        return x_BCHW + changed


def dense_level(channels: int, blocks: int) -> nn.Sequential:
    """Stack the blocks of one level."""
    return nn.Sequential(*(DenseBlock(channels) for _ in range(blocks)))


def strided_downsample(channels: int, next_channels: int) -> nn.Conv2d:
    """Halve the size by a 3x3 convolution of stride 2: (B, C, H, W) -> (B, next_channels, H/2, W/2)."""
    return nn.Conv2d(channels, next_channels, 3, stride=2, padding=1)


class DenseDecoder(nn.Module):
    """Climb from the latent to the finest level, adding the skip of each level on the way."""

    output: nn.Conv2d
    """From the features to the maps of the result; the network makes it."""

    def __init__(self, widths: Sequence[int], blocks: Sequence[int], refinement_blocks: int) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(nn.Conv2d(deeper, width, 1) for width, deeper in pairwise(widths))
        self.levels = nn.ModuleList(dense_level(width, n) for width, n in zip(widths[:-1], blocks[:-1], strict=True))
        self.refinement = dense_level(widths[0], refinement_blocks)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Decode the joined features of all levels, finest first, into features of the finest (B, C, H, W)."""
        x = levels[-1]
        for level in range(len(self.levels) - 1, -1, -1):
            enlarged = F.interpolate(self.reduce[level](x), scale_factor=2, mode="bilinear", align_corners=False)
            x = self.levels[level](enlarged + levels[level])
        features: Tensor = self.refinement(x)
        return features
