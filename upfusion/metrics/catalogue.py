"""Every metric by name, and measuring a batch of pairs with some of them."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from upfusion.metrics.ag import ag
from upfusion.metrics.cc import cc
from upfusion.metrics.en import en
from upfusion.metrics.flat import nan_where_flat
from upfusion.metrics.mi import mi
from upfusion.metrics.psnr import psnr
from upfusion.metrics.qabf import qabf
from upfusion.metrics.scd import scd
from upfusion.metrics.sd import sd
from upfusion.metrics.sf import sf
from upfusion.metrics.ssim import ssim
from upfusion.metrics.vif import vif

# Raised whenever a metric gives another number for the same images.
METRICS_VERSION = 1


@dataclass(frozen=True)
class Metric:
    """A metric of a fused pair: a function of luma `a, b, f`, each `(N, 1, H, W)` on the 0..255 scale."""

    name: str
    title: str
    function: Callable[[Tensor, Tensor, Tensor], Tensor]
    higher_is_better: bool | None = True

    def __call__(self, a: Tensor, b: Tensor, f: Tensor) -> Tensor:
        """One value a pair, `(N,)`; NaN where the metric has no meaning."""
        return self.function(a, b, f)


def measure(a: Tensor, b: Tensor, f: Tensor, names: Iterable[str]) -> dict[str, list[float | None]]:
    """Measure a batch of fused pairs with the metrics called `names`; None where a metric has no meaning.

    `a, b, f`: luma `(N, 1, H, W)` on the 0..255 scale, float32 or float64, on one device. Raises ValueError
    for an unknown name and for tensors of other or differing shapes or types.
    """
    names = list(names)
    _check_names(names)
    _check_images(a, b, f)
    if not names:
        return {}
    with torch.inference_mode():
        values = torch.stack([METRICS[name](a, b, f) for name in names])
    rows: list[list[float]] = values.tolist()
    return {
        name: [value if math.isfinite(value) else None for value in row] for name, row in zip(names, rows, strict=True)
    }


def _of_fused(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Give a metric of F alone the sources too: where one of them is flat there was nothing to fuse."""

    def of_pair(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
        return nan_where_flat(function(f), a, b)

    return of_pair


def _check_names(names: list[str]) -> None:
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        msg = f"Unknown metric {', '.join(map(repr, unknown))}; the known ones are {', '.join(METRICS)}"
        raise ValueError(msg)


def _check_images(a: Tensor, b: Tensor, f: Tensor) -> None:
    if f.ndim != 4 or f.shape[1] != 1:
        msg = f"Expected a fused image of shape (N, 1, H, W), got {tuple(f.shape)}"
        raise ValueError(msg)
    if f.dtype not in (torch.float32, torch.float64):
        msg = f"Expected images of type torch.float32 or torch.float64, got {f.dtype}"
        raise ValueError(msg)
    for name, source in (("A", a), ("B", b)):
        if source.shape != f.shape:
            msg = f"Expected source {name} to have F's shape {tuple(f.shape)}, got {tuple(source.shape)}"
            raise ValueError(msg)
        if source.dtype != f.dtype:
            msg = f"Expected source {name} to have F's type {f.dtype}, got {source.dtype}"
            raise ValueError(msg)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("vif", "Visual information fidelity", vif),
            Metric("ssim", "Structural similarity", ssim),
            Metric("qabf", "Edge preservation", qabf),
            Metric("mi", "Mutual information (bits)", mi),
            Metric("scd", "Sum of the correlations of differences", scd),
            Metric("cc", "Correlation coefficient", cc),
            Metric("en", "Entropy (bits)", _of_fused(en)),
            Metric("sd", "Standard deviation", _of_fused(sd)),
            Metric("sf", "Spatial frequency", _of_fused(sf)),
            Metric("ag", "Average gradient", _of_fused(ag)),
            Metric("psnr", "Peak signal-to-noise ratio (dB)", psnr),
        )
    }
)
