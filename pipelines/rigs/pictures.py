"""Pictures of a rig: A and B as a checkerboard before and after, the residual displacement, cell by cell."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from upfusion.registration.cells import Cells
from upfusion.registration.coordinates import Size, concentric, resizing
from upfusion.registration.estimate import FINISHING, correlate
from upfusion.registration.rig import Rig
from upfusion.registration.views import PairOfViews, View

Pixels = NDArray[np.uint8]

_SQUARES = 8
_ARROW = 6.0
"""By how much displacements are drawn longer than they are."""
_WARM, _COLD = (255, 176, 92), (92, 176, 255)


def checkerboards(rig: Rig, pair: PairOfViews) -> tuple[Pixels, Pixels]:
    """Return A and B as a checkerboard `(H, W, 3)`, 640 pixels wide, before and after the rig.

    Before, B lies over A as if both cameras had the same field of view.
    """
    before = Rig(rig.a_size, rig.b_size, concentric(rig.a_size, rig.b_size))
    return _board(before, pair), _board(rig, pair)


def residuals(rig: Rig, pairs: Sequence[PairOfViews]) -> tuple[Pixels, Cells]:
    """Return what displacement the rig leaves, drawn six times as long over the first A, and the cells."""
    a, _ = pairs[0]
    cells = correlate(pairs, rig.matrix, FINISHING[-1], rig.field)
    canvas = np.ascontiguousarray(np.repeat((0.45 * a.levels[0]).astype(np.uint8)[..., None], 3, axis=2))
    strongest = max(float(cells.weight.max()), 1e-6) if len(cells.weight) else 1.0
    for at, moved, weight in zip(cells.at, cells.displacement, cells.weight, strict=True):
        if weight < 0.1 * strongest:
            continue
        start, end = (tuple(round(float(value)) for value in point) for point in (at, at + _ARROW * moved))
        color = _WARM if np.hypot(*moved) > 2 else (120, 230, 140)
        cv2.arrowedLine(canvas, start, end, color, 1, cv2.LINE_AA, tipLength=0.25)
        cv2.circle(canvas, start, 2, color, -1, cv2.LINE_AA)
    return canvas, cells


def as_jpeg(image: Pixels) -> str:
    """Return an image as a data URI."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, 85))
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def _board(rig: Rig, pair: PairOfViews) -> Pixels:
    a, b = pair
    grey_a, grey_b = _contrast(a.levels[0]), _contrast(_on_grid(rig, a, b))
    height, width = grey_a.shape
    y, x = np.mgrid[:height, :width]
    square = width / _SQUARES
    shows_b = ((x // square).astype(int) + (y // square).astype(int)) % 2 == 1
    tint = np.where(shows_b[..., None], np.array(_WARM), np.array(_COLD)) / 255
    return np.clip(np.where(shows_b, grey_b, grey_a)[..., None] * (0.35 + 0.65 * tint), 0, 255).astype(np.uint8)


def _on_grid(rig: Rig, a: View, b: View) -> NDArray[np.float32]:
    """Return B's view on the grid of A's."""
    grid: Size = (a.levels[0].shape[1], a.levels[0].shape[0])
    level: Size = (b.levels[0].shape[1], b.levels[0].shape[0])
    y, x = np.mgrid[: grid[1], : grid[0]].astype(np.float64)
    in_a = np.stack([x, y], axis=-1)
    from_grid, to_level = resizing(grid, rig.a_size), resizing(rig.b_size, level)
    in_a = in_a * [from_grid[0, 0], from_grid[1, 1]] + [from_grid[0, 2], from_grid[1, 2]]
    in_b = np.nan_to_num(rig.to_b(in_a), nan=-1e4)
    in_b = (in_b * [to_level[0, 0], to_level[1, 1]] + [to_level[0, 2], to_level[1, 2]]).astype(np.float32)
    return np.asarray(cv2.remap(b.levels[0], in_b[..., 0], in_b[..., 1], cv2.INTER_LINEAR), np.float32)


def _contrast(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Stretch an image to the range that can be seen: nights are dark."""
    low, high = np.percentile(grey, (1, 99))
    stretched = np.clip((grey - low) / max(float(high - low), 1.0), 0, 1) ** 0.8
    return np.asarray(255 * stretched, np.float32)
