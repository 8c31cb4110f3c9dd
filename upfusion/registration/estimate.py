"""Estimate a rig from pairs, without any weights: coarse search, pooled cell correlation, split halves, cubic field.

Measured on 12 sets of real pairs by `benchmarks/registration.py`: 0.1 to 1 pixel over the overlap at a width of 640.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from upfusion.registration.cells import Cells, Round, peaks, pooled_volumes
from upfusion.registration.coarse import SIMILAR, WIDE, Grid, coarse_search, turns
from upfusion.registration.coordinates import Matrix, corner_distance, distance, overlap, resizing
from upfusion.registration.cubic_field import CubicField
from upfusion.registration.displacement_models import fit_cubic, fit_transform
from upfusion.registration.gradient_field import Field, Mask
from upfusion.registration.rig import Rig, RigError
from upfusion.registration.views import PairOfViews, View, Warp, field_of_a, grid_size, view
from upfusion.version import __version__

STARTING = (Round(320, 96, 48, 16, "similarity"), Round(320, 96, 48, 16, "affine"))
"""Rounds that choose among the candidates of the coarse search."""
FINISHING = (
    Round(320, 64, 32, 14, "homography"),
    Round(640, 96, 48, 12, "homography"),
    Round(640, 96, 48, 8, "homography"),
    Round(640, 96, 48, 8, "homography"),
)
LEAST_SCORES = ((4, 0.25), (2, 0.30), (0, 0.33))
"""Smallest score that is believed, from a number of different pairs on: one pair of other scenes reaches 0.32."""

_COARSE_PAIRS = {"similar": 16, "wide": 8, "turned": 8}
_STARTING_PAIRS = 8
_PAIRS_FOR_FIELD = 16
_FIELD_GAIN = 1.01


@dataclass(frozen=True)
class Estimate:
    """A transform of B to A with the evidence for it."""

    matrix: Matrix
    score: float
    residual: float = float("nan")
    """Median distance of the cells from the transform, in pixels at 640: lens distortion and parallax."""


def estimate_rig(pairs: Sequence[tuple[Any, Any]]) -> Rig:
    """Estimate the transform from B's pixels to A's for two cameras that stood alike when all pairs were taken.

    `pairs` are images of A and of B: paths, PIL images, or arrays `(H, W)` or `(H, W, 3)` RGB. 13 to 16 pairs spread
    over time and with texture up to the corners give 0.1 to 1 pixel; a single pair 1 to 5. Raises RigError when the
    pairs do not show the same scene.
    """
    from upfusion.registration.read import read_pixels

    return estimate_from_views([(view(read_pixels(a)), view(read_pixels(b))) for a, b in pairs])


def estimate_from_views(views: Sequence[PairOfViews], names: Sequence[str] = ()) -> Rig:
    """Estimate a rig from prepared pairs; `names` go into its provenance. Raises RigError like `estimate_rig`.

    Where images differ in size, the pairs of the most frequent sizes count.
    """
    pairs = same_sizes(views)
    found = refine(pairs, find_start(pairs), FINISHING)
    found = replace(found, score=pooled_score(pairs, found.matrix))
    least = least_score(pairs)
    if found.score < least:
        raise RigError(_advice(found.score, least, len(pairs)))
    a, b = pairs[0]
    halves = _split_halves(pairs, found.matrix)
    field = _field(pairs, found.matrix) if len(pairs) >= _PAIRS_FOR_FIELD else None
    uncertainty = distance(*halves, a.size, b.size) if halves else None
    return Rig(
        a_size=a.size,
        b_size=b.size,
        matrix=found.matrix,
        field=field,
        pairs=len(pairs),
        score=found.score,
        uncertainty=uncertainty,
        overlap=overlap(found.matrix, a.size, b.size),
        provenance={
            "method": "gradient cell correlation",
            "upfusion": __version__,
            "residual_at_640": round(found.residual, 2),
            **({"uncertainty_at_corners": round(corner_distance(*halves, a.size), 2)} if halves else {}),
            **({"from": list(names)} if names else {}),
        },
    )


def same_sizes(views: Sequence[PairOfViews]) -> list[PairOfViews]:
    """Return the pairs of the most frequent sizes of A and B. Raises RigError when there are none."""
    if not views:
        raise RigError("expected at least one pair to estimate a rig from, got none")
    sizes = Counter((a.size, b.size) for a, b in views)
    chosen = sizes.most_common(1)[0][0]
    return [(a, b) for a, b in views if (a.size, b.size) == chosen]


def find_start(pairs: Sequence[PairOfViews]) -> Estimate:
    """Find a transform to start from: similar fields of view, then different ones, then turned or mirrored cameras."""
    best = _start(pairs, SIMILAR, _COARSE_PAIRS["similar"])
    if best.score >= _believable(pairs):
        return best
    best = max(best, _start(pairs, WIDE, _COARSE_PAIRS["wide"]), key=lambda found: found.score)
    if best.score >= _believable(pairs):
        return best
    turned = Grid(step=0.06, rotations=(-4.0, 0.0, 4.0), turns=turns())
    return max(best, _start(pairs, turned, _COARSE_PAIRS["turned"]), key=lambda found: found.score)


def refine(
    pairs: Sequence[PairOfViews], start: Estimate, rounds: Sequence[Round], field: CubicField | None = None
) -> Estimate:
    """Refine a transform by rounds of cell correlation, for as long as there are enough cells with structure."""
    found = start
    for number in rounds:
        try:
            found = _one_round(pairs, found, number, field)
        except ValueError:
            break
    return found


def pooled_score(
    pairs: Sequence[PairOfViews], matrix: Matrix, field: CubicField | None = None, longest: int = 320
) -> float:
    """Return how well gradients agree, pooled over the pairs and what both see: about 0 for chance, 1 for the same."""
    return agreement(*warped_fields(pairs, matrix, longest, field))


def agreement(fields: Sequence[tuple[Field, Field]], seen: Mask) -> float:
    """Return the normalised correlation of pairs of fields `(H, W)` where B is seen, without displacement."""
    cross = sum(float(np.vdot(a[seen], b[seen]).real) for a, b in fields)
    energy_a, energy_b = (sum(float(np.vdot(x[side][seen], x[side][seen]).real) for x in fields) for side in (0, 1))
    return cross / float(np.sqrt(energy_a * energy_b)) if energy_a > 0 and energy_b > 0 else 0.0


def warped_fields(
    pairs: Sequence[PairOfViews], matrix: Matrix, longest: int, field: CubicField | None = None
) -> tuple[list[tuple[Field, Field]], Mask]:
    """Return the gradient fields of A and of the warped B, pair by pair, and where B is seen."""
    a, b = pairs[0]
    warp = Warp(matrix, a, b, longest, field)
    return [(field_of_a(a, longest), warp.field(b)) for a, b in pairs], warp.seen


def least_score(pairs: Sequence[PairOfViews]) -> float:
    """Return the smallest score that is believed for these pairs. Frames of one standing scene count as one pair."""
    different = min(_different([pair[side] for pair in pairs]) for side in (0, 1))
    return next(score for count, score in LEAST_SCORES if 1.15 * different >= count)


def _different(images: Sequence[View]) -> float:
    """Return how many independent images these are worth: 1 for copies of one, their number if nothing agrees."""
    fields = [field_of_a(image, 160) for image in images]
    together = np.sum(fields, axis=0)
    apart = sum(float(np.vdot(x, x).real) for x in fields)
    shared = float(np.vdot(together, together).real) / apart if apart > 0 else len(images)
    return len(images) / max(1.0, shared)


def _believable(pairs: Sequence[PairOfViews]) -> float:
    """Return the score with which other ways to lay B over A need not be tried; the last rounds raise it a little."""
    return least_score(pairs) - 0.02


def _start(pairs: Sequence[PairOfViews], search: Grid, limit: int) -> Estimate:
    few = pairs[:: max(1, len(pairs) // limit)][:limit]
    candidates = coarse_search(few, search)[: 4 if len(pairs) == 1 else 3]
    fewer = few[:_STARTING_PAIRS]
    refined = [refine(fewer, Estimate(candidate.matrix, candidate.score), STARTING) for candidate in candidates]
    scored = [replace(found, score=pooled_score(fewer, found.matrix)) for found in refined]
    return max(scored, key=lambda found: found.score)


def _one_round(pairs: Sequence[PairOfViews], found: Estimate, number: Round, field: CubicField | None) -> Estimate:
    a, _ = pairs[0]
    size = grid_size(a, number.longest)
    moved, residual = fit_transform(correlate(pairs, found.matrix, number, field), size, number.model)
    to_grid = resizing(a.size, size)
    # A's point x shows what the warped B shows at moved(x): that belongs at x.
    matrix = np.linalg.inv(to_grid) @ np.linalg.inv(moved) @ to_grid @ found.matrix
    if abs(matrix[2, 2]) < 1e-9 or not np.isfinite(matrix).all():
        raise ValueError("the transform degenerates")
    return Estimate(matrix / matrix[2, 2], found.score, residual * 640 / number.longest)


def correlate(pairs: Sequence[PairOfViews], matrix: Matrix, number: Round, field: CubicField | None = None) -> Cells:
    """Return the displacements of cells of A's grid that a transform leaves."""
    fields, seen = warped_fields(pairs, matrix, number.longest, field)
    return peaks(pooled_volumes(fields, seen, number.window, number.stride, number.reach))


def _split_halves(pairs: Sequence[PairOfViews], matrix: Matrix) -> tuple[Matrix, Matrix] | None:
    """Return the transforms of the even and of the odd pairs, from the same start."""
    if len(pairs) < 2:
        return None
    even, odd = (refine(pairs[side::2], Estimate(matrix, 0.0), FINISHING[2:]).matrix for side in (0, 1))
    return even, odd


def _field(pairs: Sequence[PairOfViews], matrix: Matrix) -> CubicField | None:
    """Return the cubic field of all pairs, if fields of each half make the other half agree better."""
    before, after = 0.0, 0.0
    for side in (0, 1):
        fitted, held_out = pairs[side::2], pairs[1 - side :: 2]
        before += pooled_score(held_out, matrix, longest=640)
        after += pooled_score(held_out, matrix, fit_field(fitted, matrix), longest=640)
    return fit_field(pairs, matrix) if after > _FIELD_GAIN * before else None


def fit_field(pairs: Sequence[PairOfViews], matrix: Matrix) -> CubicField | None:
    """Fit a cubic field to the displacements that a transform leaves, in two rounds."""
    a, _ = pairs[0]
    number = FINISHING[-1]
    size, field, total = grid_size(a, number.longest), None, np.zeros((2, 10))
    for _ in range(2):
        try:
            total = total + fit_cubic(correlate(pairs, matrix, number, field), size)
        except ValueError:
            return field
        # What A shows at p lies at p + field(p) on the grid of the warped B.
        scaled = total * (a.size[0] / size[0])
        field = CubicField(tuple(scaled[0].tolist()), tuple(scaled[1].tolist()))
    return field


def _advice(score: float, least: float, pairs: int) -> str:
    return (
        f"no transform makes these {pairs} pairs agree: score {score:.2f}, expected at least {least:.2f}. Either A and "
        "B do not show the same scene at the same time (check how they are paired, and --offset of recordings), or the "
        "modality has no common edges (CT, PET, SPECT beside MRI), or there is too little structure: give 13 to 16 "
        "pairs spread over time, with texture up to the corners, by day and night"
    )
