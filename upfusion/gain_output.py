"""Gain output: the fused luma as a sum of the sources' own detail, weighted by maps that the network predicts.

Both lumas are split into bands of detail and a low-pass rest (a Laplacian pyramid, Burt and Adelson 1983,
doi:10.1109/TCOM.1983.1095851). For each band the network says how much of A's and of B's detail enters; for the rest,
where between A and B it lies, and a small correction. Detail comes from the sources at full resolution, so the maps
are smooth and may be predicted at a fraction of it.

Shape suffixes: B batch, C channels, M maps, H height, W width.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from upfusion.full_precision import full_precision
from upfusion.sobel import sobel_magnitude

CORRECTION = 0.3
"""Largest change of the low-pass rest, on the scale of luma, beyond what lies between A and B."""

STEEP = 0.12
"""Sobel response of the luma at the scale of the coarsest band from which on an area is not flat."""

_TAPS = (0.125, 0.375, 0.375, 0.125)
"""Binomial, and symmetric about the centre of 2x2 pixels, as bilinear upsampling is."""


class Pyramid(NamedTuple):
    """A luma as bands of detail, finest first, each half the size of the one before, and the low-pass rest."""

    bands: list[Tensor]
    rest: Tensor


def split(x_B1HW: Tensor, bands: int) -> Pyramid:
    """Split lumas, whose sides are multiples of `2 ** bands` pixels, so that `merge` gives them back."""
    details = []
    with full_precision(x_B1HW.device):
        for _ in range(bands):
            coarse = _halve(x_B1HW)
            details.append(x_B1HW - enlarge(coarse, 2))
            x_B1HW = coarse
    return Pyramid(details, x_B1HW)


def merge(pyramid: Pyramid) -> Tensor:
    """Add the bands up to a luma (B, 1, H, W)."""
    x_B1HW = pyramid.rest
    for detail_B1HW in reversed(pyramid.bands):
        x_B1HW = enlarge(x_B1HW, 2).add_(detail_B1HW)
    return x_B1HW


def smooth_where_flat(a: Pyramid, b: Pyramid, quiet_B: Tensor) -> tuple[Pyramid, Pyramid]:
    """Take detail away where both sources are flat at the scale of the coarsest band: noise and grain.

    `quiet_B` in [0, 1] says how much of it. What is steep at that scale in either source keeps all its detail.
    """
    steepest_B1HW = torch.maximum(*(sobel_magnitude(enlarge(x.rest, 2) + x.bands[-1]) for x in (a, b)))
    taken_B1HW = quiet_B[:, None, None, None] * torch.exp(-((steepest_B1HW / STEEP) ** 2))
    kept = [1 - resize(taken_B1HW, detail.shape[-2:]) for detail in a.bands]
    smooth_a, smooth_b = (Pyramid([x * k for x, k in zip(one.bands, kept, strict=True)], one.rest) for one in (a, b))
    return smooth_a, smooth_b


def local_energy(pyramid: Pyramid, size: tuple[int, int]) -> Tensor:
    """Return the logarithm of each band's mean square around each pixel of a grid: (B, bands, *size), about -1 to 1."""
    energies = [resize(detail_B1HW.square(), size) for detail_B1HW in pyramid.bands]
    # A grey level is 4e-3, so 1e-5 is its square: what is below is the noise of rounding.
    return (torch.cat(energies, dim=1) + 1e-5).log().mul(0.25).add(2)


def count_maps(bands: int) -> int:
    """Return how many maps `apply_gains` takes: a gain of A and of B per band, a mixture and a correction."""
    return 2 * bands + 2


def apply_gains(maps_BMHW: Tensor, a: Pyramid, b: Pyramid) -> Tensor:
    """Fuse two pyramids by maps of any smaller size, before their nonlinearities, into unclamped luma (B, 1, H, W).

    Gains are softplus, so that zero keeps ln 2 of both sources' detail; the mixture is a sigmoid.
    """
    bands = len(a.bands)
    maps_BMHW = maps_BMHW.contiguous()
    gains_BMHW = _softplus(maps_BMHW[:, : 2 * bands])
    fused = []
    for band, (detail_a, detail_b) in enumerate(zip(a.bands, b.bands, strict=True)):
        gain_a, gain_b = resize(gains_BMHW[:, 2 * band : 2 * band + 2], detail_a.shape[-2:]).chunk(2, dim=1)
        fused.append(torch.addcmul(gain_a * detail_a, gain_b, detail_b))
    mixture, correction = resize(maps_BMHW[:, 2 * bands :], a.rest.shape[-2:]).chunk(2, dim=1)
    rest = torch.lerp(a.rest, b.rest, mixture.sigmoid()) + CORRECTION * correction.tanh()
    return merge(Pyramid(fused, rest))


def resize(x_BMHW: Tensor, size: tuple[int, ...]) -> Tensor:
    """Bring maps to a size that is a power of two times theirs: bilinear where larger, means where smaller."""
    height, width = x_BMHW.shape[-2:]
    if height > size[0]:
        return F.avg_pool2d(x_BMHW, (height // size[0], width // size[1]))
    if height == size[0]:
        return x_BMHW
    if torch.compiler.is_exporting():  # sizes, and so the factor, are symbols there
        return F.interpolate(x_BMHW, size, mode="bilinear", align_corners=False)
    return enlarge(x_BMHW, size[0] // height)


def enlarge(x_BMHW: Tensor, factor: int) -> Tensor:
    """Enlarge by an even factor, bilinear; on a CPU 1.5 to 4.5 times as fast as F.interpolate alone, equal to rounding.

    That one reads four neighbours for every pixel. Here it widens the rows, and whole rows are mixed.
    """
    if not x_BMHW.is_cpu or torch.compiler.is_exporting():  # runtimes have an operator for it
        return F.interpolate(x_BMHW, scale_factor=factor, mode="bilinear", align_corners=False)
    height, width = x_BMHW.shape[-2:]
    wide_BMHW = F.interpolate(x_BMHW, (height, width * factor), mode="bilinear", align_corners=False)
    rows_BMHW = F.pad(wide_BMHW, (0, 0, 1, 1), mode="replicate")
    shares_F1 = ((torch.arange(factor)[:, None] + 0.5) / factor).to(x_BMHW)
    mixed_BMHFW = torch.lerp(rows_BMHW[..., :-1, None, :], rows_BMHW[..., 1:, None, :], shares_F1)
    return mixed_BMHFW.flatten(-3, -2)[..., factor // 2 : -(factor // 2), :]


def _halve(x_B1HW: Tensor) -> Tensor:
    taps = x_B1HW.new_tensor(_TAPS)
    padded_B1HW = F.pad(x_B1HW, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded_B1HW, torch.outer(taps, taps)[None, None], stride=2)


def _softplus(x: Tensor) -> Tensor:
    """Return log(1 + e^x) to 1e-7; F.softplus takes seven times as long, for the sake of relative precision near 0."""
    return (1 + x.clamp(max=80).exp()).log()
