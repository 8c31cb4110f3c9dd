"""Q^AB/F: edge preservation."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from upfusion.metrics.flat import nan_where_flat
from upfusion.metrics.sobel import sobel
from upfusion.metrics.strips import strips

# Gain, slope and centre of both sigmoids, as published.
STRENGTH = (0.9994, 15.0, 0.5)
ORIENTATION = (0.9879, 22.0, 0.8)


def qabf(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """Share of the sources' edges, in strength and orientation, that the fused image preserves.

    `a, b, f`: luma `(N, 1, H, W)`, 0..255. Returns `(N,)`, 0..1; higher is better. NaN where an image is
    flat.

    sum(Q_AF g_A + Q_BF g_B) / sum(g_A + g_B), g the Sobel gradient's length (zero padding), with
    Q_SF = 0.9994 / (1 + exp(-15 (G - 0.5))) * 0.9879 / (1 + exp(-22 (O - 0.8))), G the smaller of both
    gradients over the larger, O = 1 - |angle_S - angle_F| / (pi / 2).
    Xydeas and Petrovic 2000, https://doi.org/10.1049/el:20000267
    """
    images = functional.pad(torch.cat([a, b, f], dim=1), (1, 1, 1, 1))
    preserved = images.new_zeros(len(images))
    total = images.new_zeros(len(images))
    for strip in strips(images, window_size=3):
        length, angle = sobel(strip)
        source_length = length[:, :2]
        quality = _preservation(source_length, angle[:, :2], length[:, 2:], angle[:, 2:])
        preserved += quality.mul_(source_length).sum((1, 2, 3))
        total += source_length.sum((1, 2, 3))
    return nan_where_flat(preserved / total, a, b, f)


def _preservation(source: Tensor, source_angle: Tensor, fused: Tensor, fused_angle: Tensor) -> Tensor:
    ratio = torch.minimum(source, fused).div_(torch.maximum(source, fused))
    # As in the field's code, G is the gradient itself where both are equal, which may be more than 1.
    ratio = torch.where(source == fused, fused, ratio)
    agreement = (source_angle - fused_angle).abs_().mul_(-2 / math.pi).add_(1)
    return _sigmoid_(ratio, *STRENGTH).mul_(_sigmoid_(agreement, *ORIENTATION))


def _sigmoid_(x: Tensor, gain: float, slope: float, centre: float) -> Tensor:
    return x.sub_(centre).mul_(slope).sigmoid_().mul_(gain)
