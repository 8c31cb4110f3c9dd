"""Chains of channel selection, re-ordering and 1x1 convolutions, folded into one matrix per pair.

Keeping, expanding, re-ordering, gating and joining channels are all linear in each pixel. Computed once on a basis
instead of on every pixel they become one small matrix per pair, and one pass over the pixels.

Shape suffixes: B batch, C channels before, D channels after, H height, W width.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def map_channels(function: Callable[[Tensor], Tensor], x_BCHW: Tensor) -> Tensor:
    """Apply a function that is affine in the channels of each pixel, the same for all pixels of a pair.

    Equal to `function(x_BCHW)` up to rounding, (B, D, H, W); gradients flow to whatever the function holds.
    """
    batch, channels, height, width = x_BCHW.shape
    with _in_full_precision(x_BCHW.device.type):
        # The unit vectors of all channels as pixels, and a zero, which gives the bias.
        basis_C1W = torch.eye(channels, channels + 1, dtype=torch.float32, device=x_BCHW.device)[:, None]
        mapped_BDW = function(basis_C1W.expand(batch, -1, -1, -1)).flatten(2)
        bias_BD1 = mapped_BDW[..., channels:]
        matrix_BDC = mapped_BDW[..., :channels] - bias_BD1
    mapped_BDP = torch.baddbmm(bias_BD1.to(x_BCHW.dtype), matrix_BDC.to(x_BCHW.dtype), x_BCHW.flatten(2))
    return mapped_BDP.view(batch, -1, height, width)


def _in_full_precision(device: str) -> AbstractContextManager[object]:
    return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)
