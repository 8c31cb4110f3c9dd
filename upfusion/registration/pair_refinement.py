"""Correct a rig for one pair: a mast that shakes moves B by some pixels and a fraction of a degree between frames.

Only a shift or a similarity is fitted, and only on clear gain: eight parameters from one pair are 2 to 6 pixels off.
"""

from dataclasses import replace
from typing import Literal

import numpy as np

from upfusion.registration.cells import Round
from upfusion.registration.coordinates import Matrix, normalised
from upfusion.registration.estimate import Estimate, pooled_score, refine
from upfusion.registration.rig import Rig
from upfusion.registration.views import PairOfViews

_LEAST_GAIN = 1.05
_ROUNDS = (Round(320, 96, 48, 12, "similarity"), Round(320, 96, 48, 6, "similarity"))
Kind = Literal["shift", "similarity"]


def pair_correction(rig: Rig, pair: PairOfViews) -> tuple[Matrix, Kind] | None:
    """Return the transform on A's pixels that moves the warped B of this pair into place, and its kind.

    None where neither a shift nor a similarity makes the gradients agree by at least 5 % better: a steady rig is left
    alone, because one pair's own error, 1 to 3 pixels at a width of 640, is larger than the rig's. About 0.1 s.
    """
    before = _score(rig, np.eye(3), pair)
    found: list[tuple[float, Matrix, Kind]] = []
    for kind in ("shift", "similarity"):
        matrix = _fit(rig, pair, kind)
        found.append((_score(rig, matrix, pair), matrix, kind))
    # Two more parameters have to earn themselves.
    shift, similar = found
    score, matrix, kind = similar if similar[0] > 1.02 * shift[0] else shift
    return (matrix, kind) if score >= _LEAST_GAIN * before > 0 else None


def _fit(rig: Rig, pair: PairOfViews, kind: Kind) -> Matrix:
    rounds = [replace(number, model=kind) for number in _ROUNDS]
    found = refine([pair], Estimate(rig.matrix, 0.0), rounds, rig.field)
    matrix: Matrix = found.matrix @ np.linalg.inv(rig.matrix)
    return normalised(matrix)


def _score(rig: Rig, correction: Matrix, pair: PairOfViews) -> float:
    return pooled_score([pair], correction @ rig.matrix, rig.field)
