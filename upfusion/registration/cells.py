"""Displacements of small cells of the image, from correlations pooled over the pairs ("ensemble PIV").

Correlations are summed over the pairs cell by cell before a peak is looked for: a cell that shows nothing in one pair
shows something in another. Meinhart, Wereley, Santiago: A PIV algorithm for estimating time-averaged velocity fields,
2000 (doi:10.1115/1.483256).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from upfusion.registration.gradient_field import Field, Mask

Model = Literal["shift", "similarity", "affine", "homography"]
"""What can be fitted to the displacements of cells."""

_LEAST_SEEN = 0.3
_LEAST_ENERGY = 0.05
_CELLS_AT_ONCE = 4
"""More would be new memory for every pair, which takes as long as the FFTs, fewer would repeat what a call costs."""


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
    profile = _profile(window)
    taper = np.outer(profile, profile)
    groups = (origins[start : start + _CELLS_AT_ONCE] for start in range(0, len(origins), _CELLS_AT_ONCE))
    cross = np.concatenate([_correlations(fields, group, taper, reach) for group in groups])
    energy_a, energy_b = (sum(field.real**2 + field.imag**2 for field in side) for side in zip(*fields, strict=True))
    # A filter that is separable, and not as matrix products, which would wake the threads of BLAS.
    weighed_b = cv2.sepFilter2D(energy_b, -1, profile, profile, anchor=(0, 0))
    local = np.maximum(_cut(weighed_b, origins, 2 * reach + 1), 0)
    product = np.sum(_cut(energy_a, origins + reach, window) * taper, axis=(1, 2))[:, None, None] * local
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


def _profile(window: int) -> NDArray[np.float32]:
    """Return a cos^2 window of this width."""
    distance = np.abs(np.arange(window) - (window - 1) / 2) / (window / 2)
    return np.asarray(np.cos(np.pi / 2 * distance) ** 2, np.float32)


def _correlations(
    fields: Sequence[tuple[Field, Field]], origins: NDArray[np.int64], taper: NDArray[np.float32], reach: int
) -> NDArray[np.float32]:
    """Correlate some of A's cells with B's patches around them, summed over pairs, `(N, 2 reach + 1, 2 reach + 1)`."""
    window, count = len(taper), 2 * reach + 1
    patch = window + 2 * reach
    total = np.zeros((len(origins), patch, patch), np.complex64)
    for a, b in fields:
        # A's cell lies at the corner of its padding, so the smallest displacement is at 0. Padding is not transformed.
        rows = scipy.fft.fft(_cut(a, origins + reach, window) * taper, patch, axis=2)
        total += np.conj(scipy.fft.fft(rows, patch, axis=1)) * scipy.fft.fft2(_cut(b, origins, patch), overwrite_x=True)
    # Only the rows and columns that are kept are transformed back.
    columns = scipy.fft.ifft(total, axis=2, overwrite_x=True)[:, :, :count]
    return np.asarray(scipy.fft.ifft(columns, axis=1)[:, :count].real)


def _cut(field: NDArray[Any], origins: NDArray[np.int64], patch: int) -> NDArray[Any]:
    windows = np.lib.stride_tricks.sliding_window_view(field, (patch, patch))
    return windows[origins[:, 1], origins[:, 0]]


def _parabola(line: NDArray[np.float32], index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the offset of the vertex from the highest sample, at most 0.6; 0 at the border."""
    cell, last = np.arange(len(line)), line.shape[1] - 1
    before, here, after = (line[cell, np.clip(index + step, 0, last)] for step in (-1, 0, 1))
    bend = 2 * here - before - after
    offset = np.where(bend > 1e-9, (after - before) / np.maximum(2 * bend, 1e-9), 0)
    return np.where((index > 0) & (index < last), np.clip(offset, -0.6, 0.6), 0).astype(np.float64)
