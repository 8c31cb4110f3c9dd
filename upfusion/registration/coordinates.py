"""Transforms between the pixels of two cameras.

A point is `(x, y)` in pixels; `(0, 0)` is the centre of the first pixel. A size is `(width, height)`. A matrix is a
homography `(3, 3)`, float64, with `matrix[2, 2] == 1`, that takes a point of B to a point of A unless it says
otherwise.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Matrix = NDArray[np.float64]
Points = NDArray[np.float64]
Size = tuple[int, int]


def normalised(matrix: ArrayLike) -> Matrix:
    """Return a homography scaled so that its last element is 1.

    Raises ValueError for anything but a 3x3 matrix of finite numbers that can be inverted.
    """
    checked = np.asarray(matrix, dtype=np.float64)
    if checked.shape != (3, 3):
        raise ValueError(f"expected a 3x3 matrix, got shape {checked.shape}")
    if not np.isfinite(checked).all() or abs(checked[2, 2]) < 1e-12:
        raise ValueError("expected a 3x3 matrix of finite numbers whose last element is not 0")
    checked = checked / checked[2, 2]
    if abs(np.linalg.det(checked)) < 1e-12:
        raise ValueError("expected a 3x3 matrix that can be inverted, got a singular one")
    return np.asarray(checked)


def apply(matrix: NDArray[Any], points: NDArray[Any]) -> Points:
    """Transform points `(..., 2)`; a point at or behind the horizon of the homography becomes NaN."""
    x, y = points[..., 0], points[..., 1]
    w = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2]
    w = np.where(w > 1e-9, w, np.nan)
    moved = [(matrix[row, 0] * x + matrix[row, 1] * y + matrix[row, 2]) / w for row in (0, 1)]
    return np.stack(moved, axis=-1)


def resizing(old: Size, new: Size) -> Matrix:
    """Return the matrix of a resize. Pixel centres: scaling by k also shifts by (k - 1) / 2."""
    (x, y), matrix = (new[0] / old[0], new[1] / old[1]), np.eye(3)
    matrix[0, 0], matrix[0, 2] = x, (x - 1) / 2
    matrix[1, 1], matrix[1, 2] = y, (y - 1) / 2
    return matrix


def fitted(size: Size, longest: int) -> Size:
    """Return a size with the same aspect ratio whose longer side is `longest` pixels."""
    factor = longest / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def translation(x: float, y: float) -> Matrix:
    """Return the matrix of a shift by `x`, `y` pixels."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def similarity(scale: float, degrees: float, centre: tuple[float, float]) -> Matrix:
    """Return the matrix of a scaling and rotation (clockwise as displayed) about a point."""
    turn = np.deg2rad(degrees)
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    x, y = centre
    return np.asarray(translation(x, y) @ matrix @ translation(-x, -y))


def middle(size: Size) -> tuple[float, float]:
    """Return the centre of an image."""
    return (size[0] - 1) / 2, (size[1] - 1) / 2


def concentric(a_size: Size, b_size: Size) -> Matrix:
    """Return the transform of B to A for cameras with the same field of view: centre on centre.

    Where the aspect ratios agree within 2 %, the images cover each other, with a factor for each axis (425 rows halved
    are 212). Otherwise pixels are taken to be square, and the areas of the images are made equal.
    """
    x, y = a_size[0] / b_size[0], a_size[1] / b_size[1]
    if abs(np.log(x / y)) < 0.02:
        return resizing(b_size, a_size)
    scale, (ax, ay), (bx, by) = float(np.sqrt(x * y)), middle(a_size), middle(b_size)
    return translation(ax, ay) @ similarity(scale, 0.0, (0.0, 0.0)) @ translation(-bx, -by)


def corners(size: Size) -> Points:
    """Return the centres of the four corner pixels, clockwise from the upper left, `(4, 2)`."""
    right, bottom = size[0] - 1.0, size[1] - 1.0
    return np.array([[0.0, 0.0], [right, 0.0], [right, bottom], [0.0, bottom]])


def grid(size: Size, columns: int = 24, rows: int = 18) -> Points:
    """Return points spread evenly over an image, borders included, `(rows * columns, 2)`."""
    x, y = np.meshgrid(np.linspace(0, size[0] - 1, columns), np.linspace(0, size[1] - 1, rows))
    return np.stack([x.ravel(), y.ravel()], axis=-1)


def inside(points: Points, size: Size) -> NDArray[np.bool_]:
    """Tell which points `(..., 2)` lie in an image of this size; NaN lies outside."""
    x, y = points[..., 0], points[..., 1]
    with np.errstate(invalid="ignore"):
        return (x >= 0) & (y >= 0) & (x <= size[0] - 1) & (y <= size[1] - 1)


def overlap(matrix: Matrix, a_size: Size, b_size: Size) -> float:
    """Return the share of A's field of view, 0 to 1, that B sees as well."""
    seen = inside(apply(np.linalg.inv(matrix), grid(a_size, 64, 48)), b_size)
    return float(seen.mean())


def distance(one: Matrix, other: Matrix, a_size: Size, b_size: Size) -> float:
    """Return how far two transforms of B to A are apart, in pixels of A: the mean over what B sees of A.

    Points are those of A that B sees by `one`. NaN when there are none.
    """
    points = grid(a_size)
    source = apply(np.linalg.inv(one), points)
    seen = inside(source, b_size)
    if not seen.any():
        return float("nan")
    moved = apply(other, source[seen]) - points[seen]
    return float(np.hypot(moved[:, 0], moved[:, 1]).mean())


def corner_distance(one: Matrix, other: Matrix, a_size: Size) -> float:
    """Return the mean distance of A's four corners between two transforms of B to A, in pixels of A.

    Where B does not reach A's corners this is an extrapolation, and larger than anything that is visible.
    """
    points = corners(a_size)
    moved = apply(other @ np.linalg.inv(one), points) - points
    return float(np.hypot(moved[:, 0], moved[:, 1]).mean())
