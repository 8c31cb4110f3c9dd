"""Bring B's pixels onto A's canvas by a rig, at full bit depth."""

from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from upfusion.registration.coordinates import Matrix, Points, Size, apply
from upfusion.registration.rig import Rig, RigError

Canvas = Literal["common", "a"]
"""`common`: the largest rectangle that both cameras see. `a`: all of A, with B where it sees."""

_ROUGH = 8
"""The common rectangle is looked for in steps of so many pixels."""
_LEAST_SIDE = 32


class RigWarp:
    """A rig made ready for images of its sizes: about 5 ms for a 640x480 pair on one core."""

    def __init__(self, rig: Rig, canvas: Canvas = "common") -> None:
        """Prepare the maps, about 10 ms. Raises RigError when A and B do not overlap, or no rectangle of 32 pixels."""
        self.rig, self.canvas = rig, canvas
        x, y = _map_of(rig)
        width, height = rig.b_size
        # Half a pixel beyond the centres of the outermost pixels, they are still what is seen.
        seen = (x >= -0.5) & (y >= -0.5) & (x <= width - 0.5) & (y <= height - 0.5)
        if not seen.any():
            raise RigError("with this rig A and B do not overlap: it is not a transform of B's pixels to A's")
        self.box = largest_rectangle(seen) if canvas == "common" else (0, 0, *rig.a_size)
        left, top, self.width, self.height = self.box
        if min(self.width, self.height) < min(_LEAST_SIDE, *rig.a_size):
            raise RigError(
                f"the largest rectangle that both cameras see is {self.width}x{self.height} pixels, expected at least "
                f"{_LEAST_SIDE} a side; --canvas a keeps all of A"
            )
        rows, columns = slice(top, top + self.height), slice(left, left + self.width)
        self._x, self._y = (np.ascontiguousarray(part[rows, columns]) for part in (x, y))
        self.seen: NDArray[np.bool_] = seen[rows, columns]
        """Where B is seen on the canvas, `(H, W)`; everywhere on the common canvas."""
        self._coarser = _coarser(self._x, self._y)

    def a(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return A `(H, W)` or `(H, W, 3)` cropped to the canvas. Raises RigError for another size than the rig's."""
        self._check("A", pixels, self.rig.a_size)
        left, top, width, height = self.box
        cropped = pixels[top : top + height, left : left + width]
        return cropped if cropped.flags.c_contiguous else cropped.copy()

    def b(self, pixels: NDArray[Any], matrix: Matrix | None = None) -> NDArray[Any]:
        """Return B `(H, W)` or `(H, W, 3)` on the canvas, in its own type; cubic interpolation, no rounding in between.

        Where B does not see, its nearest pixel is repeated. `matrix` is a correction on A's pixels (`pair_refinement`).
        Raises RigError for another size than the rig's.
        """
        self._check("B", pixels, self.rig.b_size)
        if self._coarser > 1.1:  # B has more pixels than the canvas: without a blur, fine texture would alias
            pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 0.4 * self._coarser))
        x, y = (self._x, self._y) if matrix is None else self._corrected(matrix)
        return np.asarray(cv2.remap(pixels, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))

    def _corrected(self, matrix: Matrix) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the maps for a B whose content the correction moves on A's canvas."""
        left, top, width, height = self.box
        points = _pixels(width, height, left, top)
        return _split(self.rig.to_b(apply(np.linalg.inv(matrix), points)))

    @staticmethod
    def _check(source: str, pixels: NDArray[Any], size: Size) -> None:
        height, width = pixels.shape[:2]
        if (width, height) != size:
            raise RigError(
                f"the rig is for an {source} of {size[0]}x{size[1]} pixels, and this one has {width}x{height}; "
                "estimate a rig for each size (upfusion align --per)"
            )


@lru_cache(maxsize=4)
def rig_warp(text: str, canvas: Canvas = "common") -> RigWarp:
    """Return the warp of a rig given as JSON, prepared once per process."""
    return RigWarp(Rig.from_json(text), canvas)


def largest_rectangle(seen: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return left, top, width and height of the largest rectangle within a mask `(H, W)`, in steps of 8 pixels."""
    height, width = seen.shape
    rows, columns = -(-height // _ROUGH), -(-width // _ROUGH)
    padded = np.ones((rows * _ROUGH, columns * _ROUGH), bool)
    padded[:height, :width] = seen
    blocks = np.asarray(padded.reshape(rows, _ROUGH, columns, _ROUGH).all(axis=(1, 3)))
    best, box, depth = 0, (0, 0, 0, 0), np.zeros(columns, int)
    for row in range(rows):
        depth = np.where(blocks[row], depth + 1, 0)
        for left in range(columns):
            lowest = np.minimum.accumulate(depth[left:])
            areas = lowest * np.arange(1, columns - left + 1)
            right = int(areas.argmax())
            if areas[right] > best:
                best, box = int(areas[right]), (left, row - int(lowest[right]) + 1, right + 1, int(lowest[right]))
    left, top, wide, high = (_ROUGH * side for side in box)
    return left, top, min(wide, width - left), min(high, height - top)


def _map_of(rig: Rig) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return _split(rig.to_b(_pixels(*rig.a_size)))


def _pixels(width: int, height: int, left: int = 0, top: int = 0) -> Points:
    y, x = np.mgrid[top : top + height, left : left + width].astype(np.float64)
    return np.stack([x, y], axis=-1)


def _split(points: Points) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return x and y apart, as OpenCV takes them; what lies behind the horizon is far outside."""
    # OpenCV's remap keeps coordinates in 16 bits.
    finite = np.clip(np.nan_to_num(points, nan=-30000.0), -30000, 30000).astype(np.float32)
    return np.ascontiguousarray(finite[..., 0]), np.ascontiguousarray(finite[..., 1])


def _coarser(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    """Return the median size of a canvas pixel in pixels of B."""
    ux, uy = np.diff(x, axis=1)[:-1], np.diff(y, axis=1)[:-1]
    vx, vy = np.diff(x, axis=0)[:, :-1], np.diff(y, axis=0)[:, :-1]
    return float(np.sqrt(np.median(np.abs(ux * vy - uy * vx)))) if ux.size and vx.size else 1.0
