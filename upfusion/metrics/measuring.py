"""Measuring a batch of pairs with some of the metrics, and why one of them may have no value."""

import functools
import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from upfusion.metrics.catalogue import METRICS, Function
from upfusion.metrics.flat import nan_where_flat


def measure(a: Tensor, b: Tensor, f: Tensor, names: Iterable[str]) -> dict[str, list[float | None]]:
    """Measure a batch of fused pairs with the metrics called `names`; None where a metric has no meaning.

    `a, b, f`: luma `(N, 1, H, W)` on the 0..255 scale, float32 or float64, on one device. Raises ValueError
    for an unknown name and for tensors of other or differing shapes or types. `explain_undefined` gives the reasons.
    """
    names = list(names)
    _check_names(names)
    _check_images(a, b, f)
    if not len(f):  # not every library that metrics call takes an empty batch
        return {name: [] for name in names}
    if not names:
        return {}

    @functools.cache
    def result_of(function: Function) -> Tensor:
        return function(a, b, f)

    with torch.inference_mode():
        values = torch.stack([METRICS[name].value(result_of(METRICS[name].function)) for name in names])
        rows: list[list[float]] = nan_where_flat(values, a, b, f).tolist()
    return {
        name: [value if math.isfinite(value) else None for value in row] for name, row in zip(names, rows, strict=True)
    }


def explain_undefined(a: Tensor, b: Tensor, f: Tensor, name: str) -> list[str]:
    """Say for each pair why the metric called `name` has no value on it; of use only where `measure` gave None.

    Takes the images that `measure` took, and raises what it raises.
    """
    _check_names([name])
    _check_images(a, b, f)
    return [_reason(name, {"A": one_a, "B": one_b, "F": one_f}) for one_a, one_b, one_f in zip(a, b, f, strict=True)]


def _reason(name: str, images: Mapping[str, Tensor]) -> str:
    for letter, image in images.items():
        if not image.isfinite().all():
            return f"{letter} holds NaN or Inf"
        if image.amin() == image.amax():
            return f"{letter} is flat"
    if min(images["F"].shape[-2:]) < METRICS[name].smallest_side:
        return f"a side is under {METRICS[name].smallest_side} pixels"
    return METRICS[name].otherwise_none


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
