"""SF: spatial frequency."""

from torch import Tensor

from upfusion.metrics.flat import nan_where_flat


def sf(f: Tensor) -> Tensor:
    """Spatial frequency of the fused image: sqrt(row frequency^2 + column frequency^2).

    `f`: luma `(N, 1, H, W)`, 0..255. Returns `(N,)`, 0..361; higher is better, though noise raises it too.
    NaN where the image is flat or a side is a single pixel.

    Each squared frequency is the mean of the squared differences between neighbours along that axis.
    Eskicioglu and Fisher 1995, https://doi.org/10.1109/26.477498
    """
    rows = (f[..., 1:] - f[..., :-1]).square_().mean((1, 2, 3))
    columns = (f[..., 1:, :] - f[..., :-1, :]).square_().mean((1, 2, 3))
    return nan_where_flat((rows + columns).sqrt(), f)
