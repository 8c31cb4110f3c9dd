"""SD: standard deviation."""

from torch import Tensor

from upfusion.metrics.correlation import centred
from upfusion.metrics.flat import nan_where_flat


def sd(f: Tensor) -> Tensor:
    """Standard deviation of the fused image over all its pixels: sqrt(mean((F - mean F)^2)).

    `f`: luma `(N, 1, H, W)`, 0..255. Returns `(N,)`, 0..127.5; higher is better (more contrast).
    NaN where the image is flat.

    Ma, Ma and Li 2019, https://doi.org/10.1016/j.inffus.2018.02.004
    """
    return nan_where_flat(centred(f).square_().mean(1).sqrt(), f)
