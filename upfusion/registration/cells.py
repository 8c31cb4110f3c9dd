"""Displacements of small cells of the image, from correlations pooled over the pairs ("ensemble PIV").

Correlations are summed over the pairs cell by cell before a peak is looked for: a cell that shows nothing in one pair
shows something in another. Meinhart, Wereley, Santiago: A PIV algorithm for estimating time-averaged velocity fields,
2000 (doi:10.1115/1.483256).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from upfusion.registration.gradient_field import Field, Mask

Model = Literal["shift", "similarity", "affine", "homography"]
"""What can be fitted to the displacements of cells."""

_LEAST_SEEN = 0.3
_LEAST_ENERGY = 0.05


@dataclass(frozen=True)
class Round:
    """One round of cell correlation; lengths in pixels of the grid."""

    longest: int
    """Longer side of A's grid."""
    window: int
    """Width of the cos^2 window of a cell."""
    stride: int
    reach: int
    """Largest displacement that is looked for."""
    model: Model


@dataclass(frozen=True)
class Cells:
    """Where B's content lies relative to A's, cell by cell: what A shows at `at` is at `at + displacement` in B."""

    at: NDArray[np.float64]
    """Centres of the cells `(N, 2)`, x and y on A's grid."""
    displacement: NDArray[np.float64]
    """`(N, 2)`, in pixels of A's grid."""
    weight: NDArray[np.float64]
    """`(N,)`, 0 to 1: height of the peak, times its margin over the second."""


@dataclass(frozen=True)
class Volumes:
    """Normalised correlation of every cell with every displacement."""

    at: NDArray[np.float64]
    """Centres of the cells `(N, 2)`."""
    agreement: NDArray[np.float32]
    """`(N, 2 reach + 1, 2 reach + 1)`, -1 to 1; rows are y, columns x, no displacement in the middle."""


def pooled_volumes(fields: Sequence[tuple[Field, Field]], seen: Mask, window: int, stride: int, reach: int) -> Volumes:
    """Correlate cells of A's fields with B's, summed over the pairs. Cells that B hardly sees are left out.

    `fields` are pairs of fields `(H, W)`; `seen` says where B is valid.
    """
    patch = window + 2 * reach  # so that no displacement wraps around
    origins = cell_origins(seen.shape, patch, stride)
    share = np.array([seen[y : y + patch, x : x + patch].mean() for x, y in origins])
    origins = origins[share >= _LEAST_SEEN]
    if not len(origins):
        return Volumes(np.zeros((0, 2)), np.zeros((0, 2 * reach + 1, 2 * reach + 1), np.float32))
    taper = _taper(patch, window)
    total = np.zeros((len(origins), patch, patch), np.complex64)
    energy_a, energy_b = np.zeros(len(origins), np.float32), np.zeros(seen.shape, np.float32)
    for a, b in fields:
        patches = _cut(a, origins, patch) * taper
        energy_a += np.sum(taper * _cut(a.real**2 + a.imag**2, origins, patch), axis=(1, 2))
        energy_b += b.real**2 + b.imag**2
        total += np.conj(scipy.fft.fft2(patches, overwrite_x=True)) * scipy.fft.fft2(_cut(b, origins, patch))
    cross = _central(scipy.fft.ifft2(total, overwrite_x=True).real, reach)
    spectrum = np.conj(scipy.fft.rfft2(taper)) * scipy.fft.rfft2(_cut(energy_b, origins, patch))
    local = np.maximum(_central(scipy.fft.irfft2(spectrum, (patch, patch)), reach), 0)
    product = energy_a[:, None, None] * local
    floor = _LEAST_ENERGY * float(np.median(product)) + 1e-9
    agreement = (cross / np.sqrt(np.maximum(product, floor))).astype(np.float32)
    kept = product[:, reach, reach] > floor
    centres = origins[kept] + (patch - 1) / 2
    return Volumes(centres.astype(np.float64), agreement[kept])


def peaks(volumes: Volumes) -> Cells:
    """Return each cell's best displacement, to a fraction of a pixel by a parabola through the peak."""
    agreement = volumes.agreement
    reach = agreement.shape[-1] // 2
    index = agreement.reshape(len(agreement), -1).argmax(axis=1)
    row, column = np.unravel_index(index, agreement.shape[1:])
    cell = np.arange(len(agreement))
    height = agreement[cell, row, column]
    x = column + _parabola(agreement[cell, row], column)
    y = row + _parabola(agreement[cell, :, column], row)
    ys, xs = np.mgrid[: 2 * reach + 1, : 2 * reach + 1]
    near = (abs(ys - row[:, None, None]) <= 3) & (abs(xs - column[:, None, None]) <= 3)
    second = np.where(near, -1, agreement).max(axis=(1, 2)) if len(agreement) else height
    margin = np.clip(1 - np.maximum(second, 0) / np.maximum(height, 1e-6), 0, 1)
    displacement = np.stack([x, y], axis=-1).astype(np.float64) - reach
    return Cells(volumes.at, displacement, (np.maximum(height, 0) * margin).astype(np.float64))


def cell_origins(shape: tuple[int, ...], patch: int, stride: int) -> NDArray[np.int64]:
    """Return the upper left corners `(N, 2)` of cells spread evenly over a grid `(H, W)`, about `stride` apart."""
    xs, ys = (_spread(length - patch, stride) for length in (shape[1], shape[0]))
    return np.array([(x, y) for y in ys for x in xs], dtype=np.int64).reshape(-1, 2)


def _spread(room: int, stride: int) -> NDArray[np.int64]:
    if room < 0:
        return np.zeros(0, np.int64)
    return np.round(np.linspace(0, room, 1 + max(1, round(room / stride)) if room else 1)).astype(np.int64)


def _taper(patch: int, window: int) -> NDArray[np.float32]:
    """Return a cos^2 window of this width in the middle of a patch."""
    distance = np.abs(np.arange(patch) - (patch - 1) / 2) / (window / 2)
    profile = np.where(distance < 1, np.cos(np.pi / 2 * distance) ** 2, 0)
    return np.outer(profile, profile).astype(np.float32)


def _cut(field: NDArray[Any], origins: NDArray[np.int64], patch: int) -> NDArray[Any]:
    windows = np.lib.stride_tricks.sliding_window_view(field, (patch, patch))
    return windows[origins[:, 1], origins[:, 0]]


def _central(circular: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Return displacements up to `reach` of circular correlations, no displacement in the middle."""
    return np.roll(circular, (reach, reach), axis=(1, 2))[:, : 2 * reach + 1, : 2 * reach + 1]


def _parabola(line: NDArray[np.float32], index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the offset of the vertex from the highest sample, at most 0.6; 0 at the border."""
    cell, last = np.arange(len(line)), line.shape[1] - 1
    before, here, after = (line[cell, np.clip(index + step, 0, last)] for step in (-1, 0, 1))
    bend = 2 * here - before - after
    offset = np.where(bend > 1e-9, (after - before) / np.maximum(2 * bend, 1e-9), 0)
    return np.where((index > 0) & (index < last), np.clip(offset, -0.6, 0.6), 0).astype(np.float64)
