"""Coarse search for a rig: every scale and rotation of a grid, all shifts at once by FFT, pooled over the pairs.

Cross-spectra are summed over the pairs before the one inverse FFT of each transform, so that what the pairs have in
common adds up and their noise does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from upfusion.registration.coordinates import (
    Matrix,
    apply,
    concentric,
    grid,
    middle,
    resizing,
    similarity,
    translation,
)
from upfusion.registration.gradient_field import Mask
from upfusion.registration.views import PairOfViews, View, Warp, field_of_a, grid_size

LONGEST = 160
_DIFFERENT = 14.0
"""Candidates closer than this many pixels at 640 pixels count as one."""


@dataclass(frozen=True)
class Grid:
    """Which transforms the coarse search tries, relative to cameras with the same field of view."""

    scales: tuple[float, float] = (0.74, 1.36)
    step: float = 0.04
    """Of the logarithm of the scale."""
    rotations: tuple[float, ...] = (-6.0, -3.0, 0.0, 3.0, 6.0)
    """Degrees."""
    shift: float = 0.22
    """Largest shift, as a share of the longer side."""
    least_overlap: float = 0.35
    """Smallest share of A's field of view that B must see."""
    turns: tuple[Matrix, ...] = ()
    """Quarter turns and mirrorings of B (`turned`); none means B as it is."""

    def factors(self) -> NDArray[np.float64]:
        """Return the scales that are tried."""
        low, high = np.log(self.scales)
        return np.exp(np.linspace(low, high, 1 + round((high - low) / self.step)))


SIMILAR = Grid()
"""Fields of view that differ by up to a third."""
WIDE = Grid(scales=(0.42, 2.4), shift=0.3, least_overlap=0.12)
"""Fields of view that differ by up to a factor of two."""


@dataclass(frozen=True)
class Candidate:
    """A transform of B to A, and how well the pairs agree with it."""

    matrix: Matrix
    score: float


def coarse_search(pairs: Sequence[PairOfViews], search: Grid = SIMILAR, keep: int = 6) -> list[Candidate]:
    """Return the best transforms of B to A, best first, that differ by more than 14 pixels at 640 pixels.

    All pairs must have the same sizes of A and of B. A candidate is 8 to 13 pixels off at a width of 640.
    """
    spectra = _Spectra(pairs)
    a, b = pairs[0]
    found: list[Candidate] = []
    for turn in search.turns or (np.eye(3),):
        base = base_of(a, b, turn)
        for scale in search.factors():
            for degrees in search.rotations:
                tried = similarity(float(scale), degrees, middle(a.size)) @ base
                found.append(_best_shift(spectra, tried, pairs, search))
    found.sort(key=lambda candidate: candidate.score, reverse=True)
    return _distinct(found, pairs[0][0], keep)


def base_of(a: View, b: View, turn: Matrix) -> Matrix:
    """Return the transform of B to A that lays the turned B over A, centre on centre."""
    swapped = abs(turn[0, 0]) < 0.5
    turned_size = (b.size[1], b.size[0]) if swapped else b.size
    (x, y), (bx, by) = middle(turned_size), middle(b.size)
    return concentric(a.size, turned_size) @ translation(x, y) @ turn @ translation(-bx, -by)


def turns() -> tuple[Matrix, ...]:
    """Return the seven ways to turn and mirror a camera's image besides leaving it as it is."""
    mirror = np.diag([-1.0, 1.0, 1.0])
    quarters = [np.round(similarity(1.0, 90.0 * quarter, (0.0, 0.0))) for quarter in range(4)]
    return (*quarters[1:], *(quarter @ mirror for quarter in quarters))


class _Spectra:
    """A's side of all correlations, which is the same for every transform of B."""

    def __init__(self, pairs: Sequence[PairOfViews]) -> None:
        self.width, self.height = grid_size(pairs[0][0], LONGEST)
        self.shape = tuple(scipy.fft.next_fast_len(round(1.5 * side)) for side in (self.height, self.width))
        fields = [field_of_a(a, LONGEST) for a, _ in pairs]
        self.conjugates = [np.conj(scipy.fft.fft2(field, self.shape)) for field in fields]
        energy = np.sum([field.real**2 + field.imag**2 for field in fields], axis=0)
        self.energy = np.conj(scipy.fft.rfft2(energy.astype(np.float32), self.shape))
        ones = np.ones((self.height, self.width), np.float32)
        self.seen = np.conj(scipy.fft.rfft2(ones, self.shape))

    def correlate(self, fields: Sequence[NDArray[np.complex64]]) -> NDArray[np.float32]:
        """Return the sum over the pairs of A's correlation with B, for every shift."""
        total = np.zeros(self.shape, np.complex64)
        for conjugate, field in zip(self.conjugates, fields, strict=True):
            total += conjugate * scipy.fft.fft2(field, self.shape)
        return np.asarray(scipy.fft.ifft2(total, overwrite_x=True).real, np.float32)

    def energies(self, energy_b: NDArray[np.float32], seen: Mask) -> tuple[NDArray[np.float32], ...]:
        """Return A's energy where B sees, B's energy where A sees, and the number of common pixels, for every shift."""
        mask = scipy.fft.rfft2(seen.astype(np.float32), self.shape)
        products = (self.energy * mask, self.seen * scipy.fft.rfft2(energy_b, self.shape), self.seen * mask)
        return tuple(np.maximum(scipy.fft.irfft2(product, self.shape), 0) for product in products)


def _best_shift(spectra: _Spectra, tried: Matrix, pairs: Sequence[PairOfViews], search: Grid) -> Candidate:
    a, b = pairs[0]
    warp = Warp(tried, a, b, LONGEST)
    fields = [warp.field(b) for _, b in pairs]
    energy_b = np.sum([field.real**2 + field.imag**2 for field in fields], axis=0).astype(np.float32)
    energy_a, energy_b, common = spectra.energies(energy_b, warp.seen)
    overlap = common / (spectra.width * spectra.height)
    energy = np.sqrt(energy_a * energy_b)
    agreement = spectra.correlate(fields) / np.maximum(energy, 0.02 * energy.max() + 1e-6)
    # Without the root of the overlap, slivers that agree by chance win.
    agreement *= np.sqrt(np.minimum(overlap, 1))
    agreement[overlap < search.least_overlap] = -1
    y, x = _signed(spectra.shape[0])[:, None], _signed(spectra.shape[1])[None]
    agreement[np.hypot(x, y) > search.shift * LONGEST] = -1
    row, column = np.unravel_index(int(agreement.argmax()), agreement.shape)
    # B's content at x + d belongs at x.
    shift = translation(-float(x[0, column]), -float(y[row, 0]))
    to_grid = resizing(a.size, (spectra.width, spectra.height))
    return Candidate(np.linalg.inv(to_grid) @ shift @ to_grid @ tried, float(agreement[row, column]))


def _signed(length: int) -> NDArray[np.int64]:
    """Return the shift that each index of a circular correlation stands for."""
    index = np.arange(length)
    return np.where(index < (length + 1) // 2, index, index - length)


def _distinct(found: Sequence[Candidate], a: View, keep: int) -> list[Candidate]:
    kept: list[Candidate] = []
    points, limit = grid(a.size, 4, 3), _DIFFERENT * max(a.size) / 640
    for candidate in found:
        moved = [apply(candidate.matrix @ np.linalg.inv(other.matrix), points) - points for other in kept]
        if all(np.hypot(d[:, 0], d[:, 1]).mean() > limit for d in moved):
            kept.append(candidate)
        if len(kept) == keep:
            break
    return kept
