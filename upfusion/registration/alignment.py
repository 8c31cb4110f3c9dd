"""Is one pair registered? A score from 0 to 1 that needs nothing but the pair, at 7 to 9 ms on one core.

The gradient fields of both images are correlated cell by cell at 320 pixels. If the pair is registered, no
displacement, scaling or rotation makes the cells agree much better than none at all. How much better is measured in
standard deviations of what chance gives, because a weak best among many always beats a weak zero.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from upfusion.registration.cells import Volumes, pooled_volumes
from upfusion.registration.coordinates import Size, fitted, middle
from upfusion.registration.gradient_field import gradient_field, to_grey

THRESHOLD = 0.45
"""Scores below it are reported. Of 246 registered infrared, NIR and SAR pairs 2 % lie below it."""
UNJUDGED = frozenset({"ct_mri", "pet_mri", "spect_mri"})
"""Tasks whose sources have too few edges in common: half of their registered pairs would be reported."""

_LONGEST, _WINDOW, _STRIDE, _REACH = 320, 64, 52, 24
_REACH_OF_FAMILY = 17
_MARGIN = 16
_SCALES = (-0.045, -0.03, -0.015, 0.015, 0.03, 0.045)
_ROTATIONS = tuple(np.deg2rad((-4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0)))
_EVIDENCE = 3.5
"""Standard deviations by which the best displacement must stand out to be named."""


@dataclass(frozen=True)
class AlignmentScore:
    """How well a pair is registered, as far as can be told."""

    score: float
    """0 to 1; registered pairs have about 1, displaced ones less than 0.45."""
    displacement: float | None
    """Mean displacement that makes A and B agree best, in pixels of A; None where no displacement stands out."""

    @property
    def misaligned(self) -> bool:
        """Tell whether the pair should be reported."""
        return self.score < THRESHOLD

    def describe(self) -> str:
        """Say it in a few words, for a note beside the pair."""
        if not self.misaligned:
            return "registered"
        if self.displacement is None:
            return "alignment unknown: A and B have no structure in common"
        return f"unaligned by about {self.displacement:.0f} px"


def alignment_score(a: NDArray[Any], b: NDArray[Any]) -> AlignmentScore | None:
    """Score a pair of images of one size, `(H, W)` or `(H, W, 3)` RGB of any depth.

    Found, of 246 pairs of 11 sets at a width of 640: 16 px 98 %, 8 px 81 %, 4 px few; 5 % scale 90 %, 3 % scale 56 %;
    2 degrees 73 %; another scene 79 %. None where nothing can be said: an image without structure or smaller than 64
    pixels. Raises ValueError for images of different sizes.
    """
    if a.shape[:2] != b.shape[:2]:
        raise ValueError(f"expected images of one size, got {a.shape[:2]} and {b.shape[:2]} (height, width)")
    size = (a.shape[1], a.shape[0])
    if min(size) < 64:
        return None
    small = fitted(size, _LONGEST)
    fields = [np.pad(gradient_field(_small_grey(image, small)), _REACH) for image in (a, b)]
    if not all(field.any() for field in fields):
        return None
    volumes = pooled_volumes([(fields[0], fields[1])], np.ones(fields[0].shape, bool), _WINDOW, _STRIDE, _REACH)
    if not len(volumes.at):
        return None
    return _judge(volumes, small, max(size) / _LONGEST)


def misaligned(scores: Sequence[AlignmentScore]) -> AlignmentScore | None:
    """Return the median of several pairs' scores if it says that they are not registered, None otherwise."""
    if not scores:
        return None
    middle_one = sorted(scores, key=lambda one: one.score)[len(scores) // 2]
    return middle_one if middle_one.misaligned else None


def _small_grey(image: NDArray[Any], size: Size) -> NDArray[np.float32]:
    shrinks = size[0] < image.shape[1]
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return to_grey(np.asarray(resized))


def _judge(volumes: Volumes, size: Size, pixel: float) -> AlignmentScore:
    centred = volumes.at - _REACH - np.array(middle(size))
    surface = volumes.agreement.mean(axis=0)
    y, x = np.mgrid[-_REACH : _REACH + 1, -_REACH : _REACH + 1]
    radius = np.hypot(x, y)
    far = surface[radius > 4]
    spread = float(far.std()) + 1e-6
    here = float(surface[radius < 1.1].max())
    best, moved = float(surface.max()), np.array([_at(x, surface), _at(y, surface)])
    motion = np.broadcast_to(moved, centred.shape)
    scales, turns = np.array([(scale, 0.0) for scale in _SCALES] + [(0.0, turn) for turn in _ROTATIONS]).T[..., None]
    cell_x, cell_y = centred.T
    drifts = np.stack([scales * cell_x - turns * cell_y, scales * cell_y + turns * cell_x], axis=-1)
    height, drift, shift = _best_with(volumes.agreement, drifts)
    if height > best:
        best, motion = height, drift + shift
    significance = (here - float(far.mean())) / spread
    gain = max(0.0, best - max(0.0, here)) / (spread + 0.1)
    score = math.sqrt(min(1.0, max(0.0, significance / 3))) * math.exp(-1.6 * gain)
    stands_out = (best - float(far.mean())) / spread >= _EVIDENCE
    displacement = float(np.hypot(motion[:, 0], motion[:, 1]).mean()) * pixel
    return AlignmentScore(round(score, 4), displacement if stands_out else None)


def _at(coordinate: NDArray[np.int64], surface: NDArray[np.float32]) -> float:
    return float(coordinate.ravel()[int(surface.argmax())])


def _best_with(
    agreement: NDArray[np.float32], drifts: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Return the highest mean agreement with cells moved by one of the drifts `(K, N, 2)`, that drift, and the shift.

    `agreement` is `(N, 2 reach + 1, 2 reach + 1)`; the shift is common to all cells.
    """
    padded = np.pad(agreement, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)))
    side = 2 * _REACH_OF_FAMILY + 1
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))
    start = np.clip(np.rint(drifts).astype(int), -_MARGIN, _MARGIN) + _MARGIN + _REACH - _REACH_OF_FAMILY
    total = windows[np.arange(len(agreement)), start[..., 1], start[..., 0]].sum(axis=1)
    family, row, column = np.unravel_index(int(total.argmax()), total.shape)
    shift = np.array([column - _REACH_OF_FAMILY, row - _REACH_OF_FAMILY], np.float64)
    return float(total[family, row, column]) / len(agreement), drifts[family], shift
