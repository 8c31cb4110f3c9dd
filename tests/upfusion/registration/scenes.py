"""Scenes that two cameras of different kinds see: the same shapes with unrelated brightness, and noise of their own."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from upfusion.registration import estimate
from upfusion.registration.coarse import turns
from upfusion.registration.coordinates import Matrix, Size, middle, similarity, translation
from upfusion.registration.views import PairOfViews, view

SIZE = (320, 240)
Pixels = NDArray[np.uint8]


def scene(seed: int, size: Size = SIZE, shapes: int = 60) -> tuple[Pixels, Pixels]:
    """Draw one scene twice, as grey images."""
    rng = np.random.default_rng(seed)
    a, b = (np.full((size[1], size[0]), rng.uniform(60, 180), np.float32) for _ in range(2))
    for _ in range(shapes):
        centre = (rng.integers(0, size[0]), rng.integers(0, size[1]))
        axes = rng.integers(3, 36, 2)
        angle = rng.uniform(0, 180)
        for image in (a, b):
            box = cv2.boxPoints((tuple(map(float, centre)), tuple(map(float, axes)), angle)).astype(np.int32)
            cv2.fillPoly(image, [box], float(rng.uniform(0, 255)))
    return tuple(np.clip(x + rng.normal(0, 4, x.shape), 0, 255).astype(np.uint8) for x in (a, b))


def planted(
    scale: float = 1.1, degrees: float = 3.0, shift: tuple[float, float] = (14.0, -9.0), size: Size = SIZE
) -> Matrix:
    """Return a transform from B's pixels to A's, with a little perspective."""
    tilt = np.eye(3)
    tilt[2, 0] = 0.01 / (size[0] / 2)
    centre = translation(*middle(size))
    return centre @ tilt @ np.linalg.inv(centre) @ translation(*shift) @ similarity(scale, degrees, middle(size))


def seen_through(matrix: Matrix, b: Pixels, size: Size = SIZE) -> Pixels:
    """Return what the unregistered B shows, whose pixels `matrix` takes to A's."""
    return cv2.warpPerspective(b, np.linalg.inv(matrix), size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def unregistered(count: int, matrix: Matrix, size: Size = SIZE, first: int = 0) -> list[tuple[Pixels, Pixels]]:
    """Return pairs whose B lies elsewhere."""
    return [(a, seen_through(matrix, b, size)) for a, b in (scene(first + seed) for seed in range(count))]


def views_of(pairs: list[tuple[Pixels, Pixels]]) -> list[PairOfViews]:
    """Return pairs as registration takes them."""
    return [(view(a), view(b)) for a, b in pairs]


def search_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search for cameras turned in one way instead of seven, where nothing will be found."""
    first = turns()[:1]
    monkeypatch.setattr(estimate, "turns", lambda: first)
