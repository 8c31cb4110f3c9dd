"""PSNR: peak signal-to-noise ratio."""

from torch import Tensor

from upfusion.metrics.flat import nan_where_flat

PEAK = 255.0


def psnr(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of F against both sources, in dB: 10 log10(255^2 / MSE).

    `a, b, f`: luma `(N, 1, H, W)`, 0..255. Returns `(N,)`, 0 and more; higher is better. NaN where an image
    is flat or F equals both sources.

    MSE is the mean of the mean squared errors of F against A and against B.
    Jagalingam and Hegde 2015, https://doi.org/10.1016/j.aqpro.2015.02.019
    """
    error = ((f - a).square_().mean((1, 2, 3)) + (f - b).square_().mean((1, 2, 3))) / 2
    value = 10 * (PEAK**2 / error).log10()
    return nan_where_flat(value.where(error > 0, float("nan")), a, b, f)
