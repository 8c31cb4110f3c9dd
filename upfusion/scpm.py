"""SCPM: semantic-aware channel pruning (UP-Fusion, arXiv 2511.12432, section "SCPM").

Shape suffixes: B batch, C channels, S channels of the semantic prior, H height, W width.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upfusion.channel_map import map_channels
from upfusion.convnext import ConvNeXt
from upfusion.selection import keep_top_channels


class SemanticChannelPruning(nn.Module):
    """Keep the channels that matter, by what they hold (SE) and by what a ConvNeXt sees in them.

    The weight of a channel is `w_C + alpha * sigmoid(w_S)`: `w_C` from squeeze and excitation, `w_S` from a
    ConvNeXt that looks at three mixtures of the features at `prior_size`. The `retention` share of largest
    weight is kept, in descending order, and expanded back to C by a 1x1 convolution.
    """

    def __init__(
        self,
        channels: int,
        squeeze_divisor: int,
        retention: float,
        prior_size: int,
        depths: Sequence[int],
        widths: Sequence[int],
    ) -> None:
        super().__init__()
        self.retention = retention
        self.prior_size = prior_size
        hidden = max(1, channels // squeeze_divisor)
        self.squeeze = nn.Linear(channels, hidden)
        # Starting above zero, no draw of the weights leaves every unit of so small a layer dead.
        nn.init.constant_(self.squeeze.bias, 0.5)
        self.excite = nn.Linear(hidden, channels)
        self.to_prior = nn.Conv2d(channels, 3, 1, bias=False)
        self.prior = ConvNeXt(depths, widths)
        self.from_prior = nn.Linear(widths[-1], channels)
        self.alpha = nn.Parameter(torch.ones(()))
        self.expand = nn.Conv2d(max(1, int(retention * channels)), channels, 1, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Map features (B, C, H, W) to pruned and re-expanded features of the same shape."""
        weight_BC = self.content_weight(x_BCHW) + self.alpha * self.semantic_weight(x_BCHW)
        return map_channels(lambda x: self.expand(keep_top_channels(x, weight_BC, self.retention)), x_BCHW)

    def content_weight(self, x_BCHW: Tensor) -> Tensor:
        """Weigh channels by squeeze and excitation: (B, C) in (0, 1)."""
        pooled_BC = x_BCHW.mean(dim=(2, 3))
        return torch.sigmoid(self.excite(F.relu(self.squeeze(pooled_BC))))

    def semantic_weight(self, x_BCHW: Tensor) -> Tensor:
        """Weigh channels by the semantic prior: (B, C) in (0, 1)."""
        size = (self.prior_size, self.prior_size)
        view_B3HW = F.interpolate(self.to_prior(x_BCHW), size=size, mode="bilinear", align_corners=False)
        seen_BS = self.prior(view_B3HW).mean(dim=(2, 3))
        return torch.sigmoid(self.from_prior(seen_BS))
