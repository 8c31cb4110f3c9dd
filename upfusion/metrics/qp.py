"""Q_P: preservation of features found by phase congruency."""

import torch
from torch import Tensor
from torch.nn import functional

from upfusion.metrics.flat import nan_where_flat
from upfusion.metrics.phase_congruency import phase_congruency
from upfusion.metrics.strips import strips
from upfusion.metrics.windows import blur, gaussian_window

WINDOW_SIZE = 11
SIGMA = 1.5
FEATURE = 0.1  # phase congruency above which a pixel of a source is a feature
C = 1e-4


def qp(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """Product of how well F preserves the sources' phase congruency, edges and corners.

    `a, b, f`: luma `(N, 1, H, W)`, 0..255. Returns `(N,)`, about 0..1 (the definition has no upper limit);
    higher is better. NaN where an image is flat or no source has a feature.

    Phase congruency and the largest and smallest moment of its covariance are each compared by
    (cov + C) / (sqrt(|var_x var_F|) + C), C = 1e-4, in 11x11 Gaussian windows (sigma 1.5, zero padding), with x
    the map of A, of B, and of whichever has more phase congruency, each masked by its phase congruency above 0.1.
    The largest of the three counts, averaged over the features of the third map.
    Zhao, Laganiere and Liu 2007, https://doi.org/10.1109/TIM.2007.907934
    """
    return nan_where_flat(qp_parts(a, b, f).prod(1), a, b, f)


def qp_parts(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """Preservation of phase congruency, of its largest and of its smallest moment, as `(N, 3)`."""
    batch = len(f)
    maps_a, maps_b, fused = phase_congruency(torch.cat([a, b, f])).split(batch)
    strongest = maps_a.where(maps_a[:, :1] > maps_b[:, :1], maps_b)
    sources = torch.stack([maps_a, maps_b, strongest], dim=1)
    features = sources[:, :, :1] > FEATURE
    sources *= features

    margin = (WINDOW_SIZE // 2,) * 4
    padded = functional.pad(torch.cat([sources.flatten(1, 2), fused], dim=1), margin)
    window = gaussian_window(WINDOW_SIZE, SIGMA, padded)
    index = torch.cat([_index(strip, window) for strip in strips(padded, WINDOW_SIZE)], dim=3)
    preserved = (index * features).amax(1).sum((2, 3))
    return preserved / features[:, 2].sum((2, 3))


def _index(maps: Tensor, window: Tensor) -> Tensor:
    """Agreement `(N, 3, 3, h, w)` of each source (A, B, strongest) with F in each kind; `maps` `(N, 12, H, W)`."""
    sources, fused = maps[:, :9].unflatten(1, (3, 3)), maps[:, None, 9:]
    products = torch.cat([maps.square(), (sources * fused).flatten(1, 2)], dim=1)
    mean = blur(maps, window)
    square, product = blur(products, window).split((12, 9), dim=1)
    variance = square - mean.square()
    source_mean, fused_mean = mean[:, :9].unflatten(1, (3, 3)), mean[:, None, 9:]
    covariance = product.unflatten(1, (3, 3)).addcmul(source_mean, fused_mean, value=-1)
    spread = (variance[:, :9].unflatten(1, (3, 3)) * variance[:, None, 9:]).abs_().sqrt_()
    return covariance.add_(C).div_(spread.add_(C))
