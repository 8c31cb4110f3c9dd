"""Fusions that need no network: what every method has to beat, and the copies that show which metrics to distrust.

All take the luma of source A and source B on the 0..255 scale, float32 `(H, W)`, and return luma of the same scale and
shape; those in BASELINES return whole levels.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

# Raised whenever a baseline gives another image for the same sources.
BASELINES_VERSION = 1

Luma = NDArray[np.float32]

Rule = Callable[[Luma, Luma], Luma]

LEVELS = 4
SMALLEST_TOP = 8  # pixels a side of the coarsest level


def mean(a: Luma, b: Luma) -> Luma:
    """Average both sources."""
    return _array((a + b) / 2)


def maximum(a: Luma, b: Luma) -> Luma:
    """Take the brighter source at each pixel."""
    return np.maximum(a, b)


def copy_a(a: Luma, b: Luma) -> Luma:  # noqa: ARG001  # a baseline takes both
    """Copy A, which the usual means of both directions reward."""
    return a


def copy_b(a: Luma, b: Luma) -> Luma:  # noqa: ARG001
    """Copy B."""
    return b


def laplacian(a: Luma, b: Luma) -> Luma:
    """Fuse Laplacian pyramids of up to four levels: the larger coefficient of each, and the mean of what is left.

    The pyramid of Burt and Adelson 1983, https://doi.org/10.1109/TCOM.1983.1095851
    """
    details: list[Luma] = []
    while len(details) < LEVELS and min(a.shape) >= 2 * SMALLEST_TOP:
        coarse_a, coarse_b = _array(cv2.pyrDown(a)), _array(cv2.pyrDown(b))
        detail_a, detail_b = a - _expand(coarse_a, a.shape), b - _expand(coarse_b, b.shape)
        details.append(np.where(np.abs(detail_a) >= np.abs(detail_b), detail_a, detail_b))
        a, b = coarse_a, coarse_b
    fused = _array((a + b) / 2)
    for detail in reversed(details):
        fused = _expand(fused, detail.shape) + detail
    return fused.clip(0, 255)


def _expand(coarse: Luma, shape: tuple[int, ...]) -> Luma:
    return _array(cv2.pyrUp(coarse, dstsize=(shape[1], shape[0])))


def _array(image: object) -> Luma:
    return np.asarray(image, np.float32)


def in_whole_levels(rule: Rule, a: Luma, b: Luma) -> Luma:
    """Fuse by a rule and round half up."""
    return _array(np.floor(rule(a, b) + 0.5))


RULES: Mapping[str, Rule] = MappingProxyType({"mean": mean, "max": maximum, "laplacian": laplacian})
"""The baselines that fuse, unrounded, by the name that `upfusion fuse --model` takes."""

BASELINES: Mapping[str, Rule] = MappingProxyType(
    {name: partial(in_whole_levels, rule) for name, rule in RULES.items()} | {"a": copy_a, "b": copy_b}
)
"""Every baseline by the name that `upfusion evaluate --methods` takes."""

COPIES = frozenset({"a", "b"})
"""The baselines that fuse nothing."""
