"""Robust fits of a transform to the displacements of cells: similarity, affine, homography, cubic field.

Positions are centred and divided by half the longer side, so that coefficients are in pixels at the border.
"""

import numpy as np
from numpy.typing import NDArray

from upfusion.registration.cells import Cells, Model
from upfusion.registration.coordinates import Matrix, Size, middle, normalised, translation
from upfusion.registration.cubic_field import centred, cubic_basis

_ROUNDS = 12
_RIDGE = 1e-3
_RIDGE_OF_PERSPECTIVE = 3e-3
Design = NDArray[np.float64]


def fit_transform(cells: Cells, size: Size, model: Model) -> tuple[Matrix, float]:
    """Fit a transform `G` with `at + displacement = G(at)` on A's grid; also return the median residual in its pixels.

    Weighted iteratively re-weighted least squares with Tukey's weights: hard inlier thresholds cut into the smooth
    distortion of a lens. Raises ValueError when there are fewer cells than the model needs.
    """
    design, penalty = _design(cells, size, model)
    coefficients, residual = _robust(design, cells, penalty)
    return _matrix(coefficients, size, model), residual


def fit_cubic(cells: Cells, size: Size) -> NDArray[np.float64]:
    """Fit a cubic polynomial to the displacements: coefficients `(2, 10)` for x and y, in pixels of the grid.

    The basis is that of `cubic_basis`.
    """
    basis = cubic_basis(centred(cells.at, size))
    zeros = np.zeros_like(basis)
    design = np.stack([np.hstack([basis, zeros]), np.hstack([zeros, basis])], axis=1)
    coefficients, _ = _robust(design, cells, np.full(20, _RIDGE))
    return coefficients.reshape(2, 10)


def _design(cells: Cells, size: Size, model: Model) -> tuple[Design, NDArray[np.float64]]:
    """Return the linearised model `(N, 2, K)`, and the ridge of each coefficient."""
    points = centred(cells.at, size)
    x, y = points[:, 0], points[:, 1]
    one, zero = np.ones_like(x), np.zeros_like(x)
    shift = [(one, zero), (zero, one)]
    match model:
        case "shift":
            columns = shift
        case "similarity":
            columns = [*shift, (x, y), (-y, x)]
        case "affine":
            columns = [*shift, (x, zero), (y, zero), (zero, x), (zero, y)]
        case "homography":
            columns = [*shift, (x, zero), (y, zero), (zero, x), (zero, y), (-x * x, -x * y), (-x * y, -y * y)]
    penalty = np.full(len(columns), _RIDGE)
    penalty[:2] = 0
    penalty[6:] = _RIDGE_OF_PERSPECTIVE
    return np.stack([np.stack(column, axis=-1) for column in columns], axis=-1), penalty


def _robust(design: Design, cells: Cells, penalty: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    if 2 * len(cells.at) < 2 * design.shape[-1] or cells.weight.sum() <= 0:
        raise ValueError(f"expected at least {design.shape[-1]} cells with structure, got {len(cells.at)}")
    weight = cells.weight
    for _ in range(_ROUNDS):
        weighted = design * weight[:, None, None]
        normal = np.einsum("nik,nil->kl", weighted, design) + np.diag(penalty * weight.sum())
        coefficients = np.linalg.solve(normal, np.einsum("nik,ni->k", weighted, cells.displacement))
        rest = cells.displacement - design @ coefficients
        residual = np.hypot(rest[:, 0], rest[:, 1])
        middle_residual = _weighted_median(residual, cells.weight)
        scale = max(1.0, 2.5 * middle_residual)
        weight = cells.weight * np.clip(1 - (residual / (2.5 * scale)) ** 2, 0, 1) ** 2
    return coefficients, middle_residual


def _matrix(coefficients: NDArray[np.float64], size: Size, model: Model) -> Matrix:
    radius, moved = max(size) / 2, np.zeros(8)
    moved[: len(coefficients)] = coefficients
    if model == "similarity":
        moved = np.array([*coefficients[:2], coefficients[2], -coefficients[3], coefficients[3], coefficients[2], 0, 0])
    moved = moved / radius
    local = np.array(
        [[1 + moved[2], moved[3], moved[0]], [moved[4], 1 + moved[5], moved[1]], [moved[6], moved[7], 1.0]]
    )
    to_local = np.diag([1 / radius, 1 / radius, 1.0]) @ translation(*(-side for side in middle(size)))
    return normalised(np.linalg.inv(to_local) @ local @ to_local)


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
