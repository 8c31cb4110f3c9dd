"""ConvNeXt (Liu et al. 2022, doi:10.1109/CVPR52688.2022.01167) without its classifier: the semantic prior of SCPM.

Its weights have timm's names, and priors.py fills it from timm. timm itself takes as long to import as PyTorch does,
which every copy of the network would wait for.

Shape suffixes: B batch, C channels, S channels of the last stage, H height, W width.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

EPSILON = 1e-6
"""What is under the root of every layer norm beside the variance."""


class ConvNeXt(nn.Module):
    """A stem that reduces images to a quarter of their sides, and stages of which each but the first halves them.

    `depths` are the blocks of each stage, `widths` its channels.
    """

    def __init__(self, depths: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 4, stride=4), _ChannelNorm(widths[0], EPSILON))
        first = _Stage(depths[0], widths[0], nn.Identity())
        others = (
            _Stage(depth, after, nn.Sequential(_ChannelNorm(before, EPSILON), nn.Conv2d(before, after, 2, stride=2)))
            for depth, (before, after) in zip(depths[1:], pairwise(widths), strict=True)
        )
        self.stages = nn.Sequential(first, *others)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x_B3HW: Tensor) -> Tensor:
        """Map images to features (B, S, H/32, W/32) with four stages; what is left of a division is cut off."""
        features_BSHW: Tensor = self.stages(self.stem(x_B3HW))
        return features_BSHW


class _Stage(nn.Module):
    def __init__(self, depth: int, channels: int, downsample: nn.Module) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.Sequential(*(_Block(channels) for _ in range(depth)))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        blocks_BCHW: Tensor = self.blocks(self.downsample(x_BCHW))
        return blocks_BCHW


class _Block(nn.Module):
    """A depthwise 7x7 convolution and two layers for each pixel, scaled and added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, EPSILON)
        layers = OrderedDict(
            fc1=nn.Linear(channels, 4 * channels), act=nn.GELU(), fc2=nn.Linear(4 * channels, channels)
        )
        self.mlp = nn.Sequential(layers)
        self.gamma = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        mixed_BHWC = self.mlp(self.norm(self.conv_dw(x_BCHW).permute(0, 2, 3, 1)))
        scaled_BCHW: Tensor = mixed_BHWC.permute(0, 3, 1, 2) * self.gamma[:, None, None]
        return scaled_BCHW + x_BCHW


class _ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel of (B, C, H, W)."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
