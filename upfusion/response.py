"""How a fused image answers a balance or a text: what each wish is to move, as numbers.

Definitions of this project, as nobody has measured such a response before. `a, b, f` are luma `(N, 1, H, W)`, 0..255.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from upfusion.blur import gaussian_blur
from upfusion.sobel import sobel_magnitude

TARGET_DEVIATIONS = 1.5
"""A hot or bright target exceeds the mean of the brighter source by so many standard deviations."""

DARKEST, FLATTEST = 0.25, 0.25
"""Shares of the pixels that count as dark, and as flat."""


def share_of_b(vif_a: Tensor, vif_b: Tensor) -> Tensor:
    """Return vif_b / (vif_a + vif_b), 0..1, of tensors of one shape; NaN where neither source is found in F."""
    return vif_b / (vif_a + vif_b)


def hot_luma(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """Return the mean luma of F on hot or bright targets, `(N,)`, 0..255; NaN without a target.

    Targets are where the brighter source exceeds its mean by TARGET_DEVIATIONS standard deviations.
    """
    brighter = torch.maximum(a, b)
    deviation, mean = torch.std_mean(brighter, dim=(2, 3), keepdim=True)
    return _mean_where(f, brighter > mean + TARGET_DEVIATIONS * deviation)


def dark_luma(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """Return the mean luma of F on the quarter of the pixels where the blurred brighter source is darkest, `(N,)`."""
    return _mean_where(f, _lowest(_blur(torch.maximum(a, b)), DARKEST))


def grain(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """Return the mean distance of F from its blurred copy, in grey levels, where both sources are flattest, `(N,)`.

    Flattest is the quarter of the pixels with the smallest Sobel response of the blurred sources.
    """
    steepest = torch.maximum(*(sobel_magnitude(_blur(x)) for x in (a, b)))
    return _mean_where((f - _blur(f)).abs(), _lowest(steepest, FLATTEST))


RESPONSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"hot": hot_luma, "dark": dark_luma, "grain": grain}
"""Measures by name."""


def _blur(x: Tensor) -> Tensor:
    return gaussian_blur(torch.nn.functional.pad(x, (4, 4, 4, 4), mode="reflect"), 9, 2.0)


def _lowest(x: Tensor, share: float) -> Tensor:
    flat = x.flatten(1)
    limit = flat.kthvalue(max(1, round(share * flat.shape[1])), dim=1).values
    return x <= limit[:, None, None, None]


def _mean_where(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3))
