"""N^AB/F: edges of F that neither source has."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from upfusion.metrics.flat import nan_where_flat
from upfusion.metrics.sobel import sobel
from upfusion.metrics.strips import strips

# Gain, slope and centre of both sigmoids, as published.
STRENGTH = (0.9999, 19.0, 0.5)
ORIENTATION = (0.9995, 22.0, 0.5)
SOBEL_GAIN = 8.0
WEAKEST_EDGE = 2.0  # gradient below which a pixel weighs next to nothing
WEIGHT_POWER = 1.5
WEIGHT_OF_NO_EDGE = 0.001


def nabf(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """Artifacts: share of the sources' edge weight lost where F has a stronger edge than both of them.

    `a, b, f`: luma `(N, 1, H, W)`, 0..255. Returns `(N,)`, 0..1; lower is better. NaN where an image is
    flat or a side is a single pixel.

    sum over g_F > max(g_A, g_B) of ((1 - Q_AF) w_A + (1 - Q_BF) w_B), divided by sum(w_A + w_B) over all pixels. g is
    the Sobel gradient's length over 8 (the image mirrored at its borders), w = g^1.5 from g = 2 on and 0.001 below,
    Q_SF the root of 0.9999 / (1 + exp(-19 (G - 0.5))) * 0.9995 / (1 + exp(-22 (O - 0.5))), G the smaller of both
    gradients over the larger, and O = ||angle_S - angle_F| - pi / 2| / (pi / 2).
    Shreyamsha Kumar 2013, https://doi.org/10.1007/s11760-012-0361-x
    """
    if min(f.shape[-2:]) < 2:
        return f.new_full((len(f),), float("nan"))
    images = functional.pad(torch.cat([a, b, f], dim=1), (1, 1, 1, 1), mode="reflect")
    artifacts = images.new_zeros(len(images))
    total = images.new_zeros(len(images))
    for strip in strips(images, window_size=3):
        length, angle = sobel(strip)
        length.div_(SOBEL_GAIN)
        source, fused = length[:, :2], length[:, 2:]
        loss = 1 - _preservation(source, angle[:, :2], fused, angle[:, 2:])
        weight = source.pow(WEIGHT_POWER).where(source >= WEAKEST_EDGE, WEIGHT_OF_NO_EDGE)
        stronger = fused > source.amax(1, keepdim=True)
        artifacts += loss.mul_(weight).mul_(stronger).sum((1, 2, 3))
        total += weight.sum((1, 2, 3))
    return nan_where_flat(artifacts / total, a, b, f)


def _preservation(source: Tensor, source_angle: Tensor, fused: Tensor, fused_angle: Tensor) -> Tensor:
    # Where one has no gradient the ratio is 0, also if neither has.
    ratio = torch.minimum(source, fused).div_(torch.maximum(source, fused)).nan_to_num_(0)
    agreement = (source_angle - fused_angle).abs_().sub_(math.pi / 2).abs_().mul_(2 / math.pi)
    return _sigmoid_(ratio, *STRENGTH).mul_(_sigmoid_(agreement, *ORIENTATION)).sqrt_()


def _sigmoid_(x: Tensor, gain: float, slope: float, centre: float) -> Tensor:
    return x.sub_(centre).mul_(slope).sigmoid_().mul_(gain)
