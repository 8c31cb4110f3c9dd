"""Q_P: preservation of features found by phase congruency."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from upfusion.metrics.flat import nan_where_flat
from upfusion.metrics.moments import local_moments
from upfusion.metrics.phase_congruency import phase_congruency
from upfusion.metrics.strips import strips
from upfusion.metrics.windows import gaussian_window

WINDOW_SIZE = 11
SIGMA = 1.5
FEATURE = 0.1  # phase congruency above which a pixel of a source is a feature
C = 1e-4


def qp(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """Product of how well F preserves the sources' phase congruency, edges and corners.

    `a, b, f`: luma `(N, 1, H, W)`, 0..255. Returns `(N,)`, -1..1, in practice 0..1; higher is better. NaN where
    an image is flat or no source has a feature.

    Phase congruency and the largest and smallest moment of its covariance are each compared by
    (cov + C) / (sqrt(|var_x var_F|) + C), C = 1e-4, in 11x11 Gaussian windows (sigma 1.5, zero padding), with x
    the map of A, of B, and of whichever has more phase congruency, each masked by its phase congruency above 0.1.
    The largest of the three counts, averaged over the features of the third map.
    Zhao, Laganiere and Liu 2007, IJICIC 3 (6A), as in Liu et al. 2012, https://doi.org/10.1109/TPAMI.2011.109
    """
    return nan_where_flat(preservation(source_features(a, b), f).prod(1), a, b, f)


class SourceFeatures(NamedTuple):
    """What Q_P takes from the sources A, B and, at each pixel, the one with more phase congruency."""

    maps: Tensor  # (N, 3 kinds, 3 sources, H, W), zero where there is no feature
    mask: Tensor  # (N, 3 sources, H, W)


def source_features(a: Tensor, b: Tensor) -> SourceFeatures:
    """The part of Q_P that is the same for every fusion of A and B; two thirds of its time."""
    maps_a, maps_b = phase_congruency(torch.cat([a, b])).view(2, len(a), 3, *a.shape[-2:])
    strongest = torch.where(maps_a[:, :1] > maps_b[:, :1], maps_a, maps_b)
    maps = torch.stack([maps_a, maps_b, strongest], dim=2)
    mask = maps[:, 0] > FEATURE
    return SourceFeatures(maps * mask[:, None], mask)


def preservation(sources: SourceFeatures, f: Tensor) -> Tensor:
    """How well F preserves phase congruency, its largest and its smallest moment, as `(N, 3)`: Q_P's factors."""
    images = torch.cat([sources.maps, phase_congruency(f)[:, :, None]], dim=2).flatten(0, 1)
    padded = functional.pad(images, (WINDOW_SIZE // 2,) * 4)
    window = gaussian_window(WINDOW_SIZE, SIGMA, padded)
    index = torch.cat([_index(strip, window) for strip in strips(padded, WINDOW_SIZE)], dim=2)
    preserved = index.view_as(sources.maps).mul_(sources.mask[:, None]).amax(2).sum((2, 3))
    return preserved / sources.mask[:, 2].sum((1, 2))[:, None]


def _index(images: Tensor, window: Tensor) -> Tensor:
    """The maps of agreement of each source with F, `(N, 3, h, w)`; F is the last channel of `images`."""
    _, _, source_variance, fused_variance, covariance = local_moments(images, window)
    return covariance.add_(C).div_((source_variance * fused_variance).sqrt_().add_(C))
