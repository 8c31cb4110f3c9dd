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
    batch, channels = x_BCHW.shape[:2]
    with full_precision(x_BCHW.device):
        # The unit vectors of all channels as pixels, and a zero, which gives the bias.
        basis_C1W = torch.eye(channels, channels + 1, dtype=torch.float32, device=x_BCHW.device)[:, None]
        mapped_BDW = function(basis_C1W.expand(batch, -1, -1, -1)).flatten(2)
        bias_BD1 = mapped_BDW[..., channels:]
        matrix_BDC = mapped_BDW[..., :channels] - bias_BD1
    return multiply_channels(matrix_BDC.to(x_BCHW.dtype), x_BCHW, bias_BD1.to(x_BCHW.dtype))


def multiply_channels(matrix_BDC: Tensor, x_BCHW: Tensor, bias_BD1: Tensor | None = None) -> Tensor:
    """Multiply the channels of each pixel by the matrix of its pair, and add a bias: (B, D, H, W) in x's layout."""
    batch, _, height, width = x_BCHW.shape
    x_BCP = x_BCHW.flatten(2)
    if x_BCHW.stride(1) == 1:  # channels last, as in half of such a tensor
        x_BPC, matrix_BCD = x_BCP.mT, matrix_BDC.mT
        mapped_BPD = x_BPC @ matrix_BCD if bias_BD1 is None else torch.baddbmm(bias_BD1.mT, x_BPC, matrix_BCD)
        return mapped_BPD.view(batch, height, width, -1).permute(0, 3, 1, 2)
    mapped_BDP = matrix_BDC @ x_BCP if bias_BD1 is None else torch.baddbmm(bias_BD1, matrix_BDC, x_BCP)
    return mapped_BDP.view(batch, -1, height, width)
