"""Selecting and re-ordering channels by learned weights, so that the weights can be learned.

SCPM and TCPM keep and permute channels by `topk` and `gather`, which pass no gradient to the weights that
decide. Each chosen channel is therefore multiplied by a factor whose value is exactly 1 and whose gradient
is that of its weight (a straight-through estimator, doi:10.48550/arXiv.1308.3432): the forward values are
those of the paper, and the weights train.

Shape suffixes: B batch, C channels, K kept channels, H height, W width.
"""

import torch
from torch import Tensor


def keep_top_channels(x_BCHW: Tensor, weight_BC: Tensor, ratio: float, rank_BC: Tensor | None = None) -> Tensor:
    """Keep the `int(ratio * C)` channels (at least one) of largest weight, in descending order: (B, K, H, W).

    `rank_BC` orders them where given: a monotonic function of the weights without their ties. Sigmoids of large numbers
    are equal in float32, on a third of real pairs, and every device and runtime orders equal weights in its own way.
    """
    kept = max(1, int(ratio * weight_BC.shape[1]))
    index_BK = (weight_BC if rank_BC is None else rank_BC).topk(kept, dim=1).indices
    return _gather_channels(x_BCHW, weight_BC.gather(1, index_BK), index_BK)


def sort_channels(x_BCHW: Tensor, weight_BC: Tensor) -> Tensor:
    """Re-order all channels by descending weight: (B, C, H, W)."""
    weight_BC, index_BC = weight_BC.sort(dim=1, descending=True)
    return _gather_channels(x_BCHW, weight_BC, index_BC)


def _gather_channels(x_BCHW: Tensor, weight_BK: Tensor, index_BK: Tensor) -> Tensor:
    batch_B1 = torch.arange(x_BCHW.shape[0], device=x_BCHW.device)[:, None]
    chosen_BKHW = x_BCHW[batch_B1, index_BK]
    if not (torch.is_grad_enabled() and weight_BK.requires_grad):
        return chosen_BKHW
    one_BK = 1 + (weight_BK - weight_BK.detach())  # in this order it is 1 to the last bit
    return chosen_BKHW * one_BK[:, :, None, None].to(chosen_BKHW.dtype)
