"""What registration keeps of an image: grey, at most 640 pixels wide, at three sizes."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from upfusion.registration.coordinates import Matrix, Size, apply, fitted, middle, resizing
from upfusion.registration.cubic_field import CubicField
from upfusion.registration.gradient_field import COARSE, FINE, Field, Grey, Mask, Scales, gradient_field, to_grey

LEVELS = (640, 320, 160)
"""Longer sides of a view's images, in pixels."""

_BORDER = 3
"""Pixels at the edge of B that count as unseen: the frame is the strongest edge of all, and the same in all pairs."""


@dataclass(frozen=True)
class View:
    """One image of a pair as registration needs it, about 1.6 MB; it can be sent between processes."""

    size: Size
    """Width and height of the whole image."""
    levels: tuple[Grey, Grey, Grey]
    """Grey images whose longer side is 640, 320 and 160 pixels."""

    def at(self, longest: int) -> Grey:
        """Return the image whose longer side is 640, 320 or 160 pixels."""
        return self.levels[LEVELS.index(longest)]


PairOfViews = tuple[View, View]


def view(image: NDArray[Any]) -> View:
    """Reduce an image `(H, W)` or `(H, W, 3)` RGB of any depth to a view."""
    height, width = image.shape[:2]
    grey = to_grey(image)
    levels = []
    for longest in LEVELS:
        grey = _resized(grey, fitted((width, height), longest))
        levels.append(grey)
    return View((width, height), (levels[0], levels[1], levels[2]))


def field_of_a(a: View, longest: int) -> Field:
    """Return A's gradient field on a grid whose longer side is `longest`, with an rms of 1."""
    return _equalised(gradient_field(a.at(longest), _scales(longest)))


def grid_size(a: View, longest: int) -> Size:
    """Return width and height of the grid whose longer side is `longest`."""
    height, width = a.at(longest).shape
    return width, height


class Warp:
    """How B comes onto the grid of A: one for all pairs of a rig, whose images have the same sizes."""

    def __init__(self, matrix: Matrix, a: View, b: View, longest: int, field: CubicField | None = None) -> None:
        self.grid, self._longest = grid_size(a, longest), longest
        from_a = resizing(a.size, self.grid)
        self._level, self._coarser = self._choose_level(from_a @ matrix, b)
        level_size = grid_size(b, LEVELS[self._level])
        to_level = resizing(b.size, level_size) @ np.linalg.inv(from_a @ matrix)
        self._map = _map_of(self.grid, to_level, from_a, field, a.size)
        self.seen = self._seen(level_size)

    def field(self, b: View) -> Field:
        """Return the gradient field of the warped B with an rms of 1: its angles are those of the warped image."""
        image = b.levels[self._level]
        if self._coarser > 1.1:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.4 * self._coarser), np.float32)
        warped = cv2.remap(image, *self._map, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return _equalised(gradient_field(np.asarray(warped, np.float32), _scales(self._longest), self.seen))

    def _choose_level(self, to_grid: Matrix, b: View) -> tuple[int, float]:
        """Return the smallest level of B that is as fine as the grid, and how much coarser the grid samples it."""
        pixel = _pixel_of_grid(to_grid, self.grid, b.size)
        steps = [pixel * longest / max(b.size) for longest in LEVELS]
        fine = [level for level, step in enumerate(steps) if step >= 0.8]
        level = fine[-1] if fine else 0
        return level, steps[level]

    def _seen(self, level_size: Size) -> Mask:
        x, y = self._map
        seen = (x >= 0) & (y >= 0) & (x <= level_size[0] - 1) & (y <= level_size[1] - 1)
        kernel = np.ones((2 * _BORDER + 1, 2 * _BORDER + 1), np.uint8)
        return np.asarray(cv2.erode(seen.astype(np.uint8), kernel)).astype(bool)


def _map_of(grid: Size, to_level: Matrix, from_a: Matrix, field: CubicField | None, a_size: Size) -> tuple[Grey, Grey]:
    """Return where each pixel of the grid lies on B's level: x and y, float32; far outside behind the horizon."""
    y, x = np.mgrid[: grid[1], : grid[0]].astype(np.float64)
    points = np.stack([x, y], axis=-1)
    if field is not None:
        scale = np.array([from_a[0, 0], from_a[1, 1]])
        points = points + field.at(apply(np.linalg.inv(from_a), points), a_size) * scale
    mapped = np.nan_to_num(apply(to_level, points), nan=-1e6).astype(np.float32)
    return np.ascontiguousarray(mapped[..., 0]), np.ascontiguousarray(mapped[..., 1])


def _pixel_of_grid(to_grid: Matrix, grid: Size, b_size: Size) -> float:
    """Return the size of a grid's pixel in pixels of B, in the middle of the grid."""
    x, y = middle(grid)
    points = apply(np.linalg.inv(to_grid), np.array([[x, y], [x + 1, y], [x, y + 1]]))
    (ux, uy), (vx, vy) = points[1] - points[0], points[2] - points[0]
    area = abs(ux * vy - uy * vx)
    return float(np.sqrt(area)) if np.isfinite(area) else max(b_size) / max(grid)


def _scales(longest: int) -> Scales:
    return COARSE if longest < 320 else FINE


def _equalised(field: Field) -> Field:
    """Give every pair the same weight: one noisy night frame would outweigh all others."""
    power = float(np.mean(field.real**2 + field.imag**2))
    return field * np.float32(1 / np.sqrt(power)) if power > 0 else field


def _resized(grey: Grey, size: Size) -> Grey:
    if (grey.shape[1], grey.shape[0]) == size:
        return grey
    shrinks = size[0] < grey.shape[1]
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC), np.float32)
