"""CC: correlation coefficient."""

from torch import Tensor

from upfusion.metrics.correlation import centred, correlation
from upfusion.metrics.flat import nan_where_flat


def cc(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """Correlation coefficient: mean of Pearson's correlations of A with F and of B with F.

    `a, b, f`: luma `(N, 1, H, W)`, 0..255. Returns `(N,)`, -1..1; higher is better. NaN where an image is
    flat.

    Ma, Ma and Li 2019, https://doi.org/10.1016/j.inffus.2018.02.004
    """
    fused = centred(f)
    value = (correlation(centred(a), fused) + correlation(centred(b), fused)) / 2
    return nan_where_flat(value, a, b, f)
