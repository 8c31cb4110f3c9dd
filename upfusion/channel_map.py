"""Chains of channel selection, re-ordering and 1x1 convolutions, folded into one matrix per pair.

Keeping, expanding, re-ordering, gating and joining channels are all linear in each pixel. Computed once on a basis
instead of on every pixel they become one small matrix per pair, and one pass over the pixels.

Shape suffixes: B batch, C channels before, D channels after, H height, W width.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from upfusion.full_precision import full_precision


def map_channels(function: Callable[[Tensor], Tensor], x_BCHW: Tensor) -> Tensor:
    """Apply a function that is affine in the channels of each pixel, the same for all pixels of a pair.

    Equal to `function(x_BCHW)` up to rounding, (B, D, H, W); gradients flow to whatever the function holds.
    """
    batch, channels, height, width = x_BCHW.shape
    with full_precision(x_BCHW.device):
        # The unit vectors of all channels as pixels, and a zero, which gives the bias.
        basis_C1W = torch.eye(channels, channels + 1, dtype=torch.float32, device=x_BCHW.device)[:, None]
        mapped_BDW = function(basis_C1W.expand(batch, -1, -1, -1)).flatten(2)
        bias_BD1 = mapped_BDW[..., channels:]
        matrix_BDC = mapped_BDW[..., :channels] - bias_BD1
    mapped_BDP = torch.baddbmm(bias_BD1.to(x_BCHW.dtype), matrix_BDC.to(x_BCHW.dtype), x_BCHW.flatten(2))
    return mapped_BDP.view(batch, -1, height, width)
