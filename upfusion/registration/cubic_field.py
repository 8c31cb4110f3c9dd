"""A smooth displacement beyond a homography, such as lens distortion: a cubic polynomial of the position in A."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upfusion.registration.coordinates import Points, Size, middle


@dataclass(frozen=True)
class CubicField:
    """A smooth displacement beyond the matrix, such as lens distortion: a cubic polynomial of the position in A."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    """Ten coefficients each, in pixels of A: of 1, x, y, x^2, xy, y^2, x^3, x^2 y, x y^2, y^3; x and y are measured
    from A's centre in halves of its longer side."""

    def at(self, points: Points, a_size: Size) -> Points:
        """Return the displacement `(..., 2)` at points of A, in pixels of A."""
        basis = cubic_basis(centred(points, a_size))
        return np.stack([basis @ np.array(self.x), basis @ np.array(self.y)], axis=-1)


def cubic_basis(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1, x, y, x^2, xy, y^2, x^3, x^2 y, x y^2, y^3 of centred points `(..., 2)`."""
    x, y = points[..., 0], points[..., 1]
    one = np.ones_like(x)
    return np.stack([one, x, y, x * x, x * y, y * y, x**3, x * x * y, x * y * y, y**3], axis=-1)


def centred(points: Points, size: Size) -> Points:
    """Return points measured from the centre of an image, in halves of its longer side."""
    return np.asarray((points - np.array(middle(size))) / (max(size) / 2))
