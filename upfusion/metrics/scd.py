"""SCD: sum of the correlations of differences."""

from torch import Tensor

from upfusion.metrics.correlation import centred, correlation
from upfusion.metrics.flat import nan_where_flat


def scd(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """Sum of the correlations of differences: what F adds to each source, correlated with the other source.

    `a, b, f`: luma `(N, 1, H, W)`, 0..255. Returns `(N,)`, -2..2; higher is better. NaN where an image is
    flat or F differs from a source by nothing but a constant.

    corr(F - B, A) + corr(F - A, B).
    Aslantas and Bendes 2015, https://doi.org/10.1016/j.aeue.2015.09.004
    """
    source_a, source_b, fused = centred(a), centred(b), centred(f)
    value = correlation(fused - source_b, source_a) + correlation(fused - source_a, source_b)
    return nan_where_flat(value, a, b, f, f - a, f - b)
