"""AG: average gradient."""

import torch
from torch import Tensor

from upfusion.metrics.flat import nan_where_flat


def ag(f: Tensor) -> Tensor:
    """Average gradient of the fused image: mean of sqrt((Gx^2 + Gy^2) / 2).

    `f`: luma `(N, 1, H, W)`, 0..255. Returns `(N,)`, 0..255; higher is better, though noise raises it too.
    NaN where the image is flat or a side is a single pixel.

    Gx and Gy are central differences, one-sided at the borders.
    Cui et al. 2015, https://doi.org/10.1016/j.optcom.2014.12.032
    """
    if min(f.shape[-2:]) < 2:
        return f.new_full((len(f),), float("nan"))
    gradient_y, gradient_x = torch.gradient(f, dim=(2, 3))
    length = gradient_x.square_().addcmul_(gradient_y, gradient_y).div_(2).sqrt_()
    return nan_where_flat(length.mean((1, 2, 3)), f)
