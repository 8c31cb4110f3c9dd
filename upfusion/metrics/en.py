"""EN: entropy."""

from torch import Tensor

from upfusion.metrics.flat import nan_where_flat
from upfusion.metrics.histogram import entropy, histogram, levels


def en(f: Tensor) -> Tensor:
    """Shannon entropy of the levels of the fused image, in bits: sum -p log2 p over its 256-level histogram.

    `f`: luma `(N, 1, H, W)`, 0..255, rounded to whole levels. Returns `(N,)`, 0..8; higher is better, though
    noise raises it too. NaN where the image is flat.

    Ma, Ma and Li 2019, https://doi.org/10.1016/j.inffus.2018.02.004
    """
    return nan_where_flat(entropy(histogram(levels(f)), f.dtype), f)
