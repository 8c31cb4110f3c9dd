"""Temporal stability: how a fused recording changes from frame to frame, against its sources.

Definitions of this project. Measures of video processing (Lai et al. 2018, https://doi.org/10.1007/978-3-030-01267-0_11,
warp frames onto each other by optical flow) need a motion estimate that holds for both sensors; comparing changes
where they happen needs none, because sources are registered and F shows what they show.
"""

import torch
from torch import Tensor


def flicker(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """Change of F between neighbouring frames that neither source explains, in grey levels.

    `a, b, f`: luma `(N, 1, H, W)` of N frames one after the other, 0..255. A pixel of F may change as much as that
    of the source that changes more; what exceeds it is averaged over the picture. Returns `(N - 1,)`, 0..255; lower
    is better, 0 is none.
    """
    change_f, change_sources = _changes(a, b, f)
    return (change_f - change_sources).clamp(min=0).mean(dim=(1, 2, 3))


def change_ratio(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """Mean change of F between neighbouring frames over that of the source that changes more at each pixel.

    `a, b, f` as for `flicker`. Returns `(N - 1,)`, 0 or more: above 1 F moves more than its sources (it flickers), far
    below it smears motion. NaN where no source changes.
    """
    change_f, change_sources = _changes(a, b, f)
    expected = change_sources.mean(dim=(1, 2, 3))
    return torch.where(expected > 0, change_f.mean(dim=(1, 2, 3)) / expected, float("nan"))


def _changes(a: Tensor, b: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
    if not a.shape == b.shape == f.shape or f.ndim != 4 or f.shape[1] != 1:
        msg = f"Expected A, B and F of one shape (N, 1, H, W), got {tuple(a.shape)}, {tuple(b.shape)}, {tuple(f.shape)}"
        raise ValueError(msg)
    of_a, of_b, of_f = ((x[1:] - x[:-1]).abs() for x in (a, b, f))
    return of_f, torch.maximum(of_a, of_b)
