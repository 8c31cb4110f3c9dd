"""Colour palettes of thermal cameras, and the way back from colours to values.

A camera's picture in false colours has little to do with temperature in its luma (a rainbow's correlates with -0.5).
Its pixels lie near a known curve through colour space, though, and where on it they lie is the value.
"""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from upfusion.color import Pixels

if TYPE_CHECKING:
    from scipy.spatial import KDTree

# Red, green and blue at even steps from cold to hot. Cameras differ a little, and JPEG from all of them.
_STEPS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "iron": (
        *((0, 31, 37), (29, 17, 103), (72, 11, 141), (110, 10, 160), (143, 17, 161), (171, 29, 149), (193, 46, 127)),
        *((210, 65, 98), (224, 87, 69), (234, 111, 41), (241, 136, 21), (244, 158, 9), (244, 182, 13), (243, 202, 34)),
        *((238, 219, 78), (232, 231, 148), (225, 239, 239)),
    ),
    "rainbow": (
        *((0, 3, 74), (0, 35, 112), (0, 62, 155), (0, 88, 200), (0, 111, 223), (4, 134, 200), (18, 151, 132)),
        *((68, 171, 60), (134, 195, 12), (190, 210, 0), (232, 211, 6), (250, 189, 14), (255, 143, 27)),
        *((252, 48, 54), (247, 32, 83), (253, 124, 125), (255, 233, 208)),
    ),
    "rainbow-hc": (
        *((18, 15, 18), (86, 28, 75), (155, 42, 136), (109, 70, 183), (57, 103, 236), (35, 127, 154), (14, 152, 81)),
        *((110, 173, 44), (194, 192, 13), (194, 165, 15), (194, 138, 18), (182, 85, 32), (169, 46, 44)),
        *((179, 97, 142), (193, 147, 236), (196, 168, 236), (103, 170, 211), (14, 172, 188), (69, 183, 110)),
        *((128, 195, 27), (182, 214, 13), (236, 234, 13), (236, 185, 30), (237, 136, 48), (229, 75, 52)),
        *((227, 84, 89), (232, 169, 173), (235, 205, 208), (235, 232, 235)),
    ),
    "arctic": (
        *((15, 16, 146), (15, 15, 205), (15, 34, 239), (22, 102, 239), (39, 170, 237), (57, 227, 231), (73, 204, 204)),
        *((89, 166, 167), (95, 122, 122), (118, 101, 90), (165, 102, 59), (211, 101, 26), (237, 127, 12)),
        *((235, 179, 12), (235, 211, 65), (235, 225, 165), (235, 232, 212)),
    ),
    "lava": (
        *((2, 4, 28), (16, 40, 72), (46, 46, 88), (92, 34, 76), (136, 26, 48), (176, 28, 34), (212, 44, 24)),
        *((238, 86, 20), (249, 132, 26), (253, 180, 54), (254, 220, 112), (255, 250, 226)),
    ),
    "hot": (*((round(255 * n / 8), 0, 0) for n in range(1, 9)), *((255, round(255 * n / 8), 0) for n in range(1, 9)),
            *((255, 255, round(255 * n / 5)) for n in range(1, 6))),
    "jet": ((0, 0, 128), (0, 0, 255), (0, 128, 255), (0, 255, 255), (128, 255, 128), (255, 255, 0), (255, 128, 0),
            (255, 0, 0), (128, 0, 0)),
}  # fmt: skip
PALETTES: tuple[str, ...] = tuple(_STEPS)
"""Names of the palettes that are known, for `--palette-b`."""

_POINTS = 1021
# Luma counts double: JPEG keeps it at full resolution and finer steps than chroma.
_WEIGHTS = np.array([2.0, 1.0, 1.0])
_LEVELS = 64  # steps of each channel in the table from colours to values
_SAMPLE = 1 << 12
_CELLS_TOGETHER = 4096
_CANDIDATES, _ROUNDS, _SURROUNDINGS, _SMOOTHNESS = 4, 4, 5, 0.6

# Distances in the weighted YCbCr space, 0..255 a channel. Measured on 1,400 synthetic scenes at JPEG quality 85 and on
# the visible images of public sets (docs/cameras.md).
NEAR = 24.0
ENOUGH_NEAR = 0.9
MEAN_DISTANCE = 11.5
COLOURED = 16
ENOUGH_COLOURED = 0.05


@dataclass(frozen=True)
class PaletteMatch:
    """How well an image follows the palette that it follows best."""

    name: str
    distance: float
    """Mean distance of its pixels from the curve, in levels of 0..255."""
    near: float
    """The share of its pixels that lie near the curve, 0 to 1."""

    @property
    def is_sure(self) -> bool:
        """Whether the image is taken to be in this palette."""
        return self.near >= ENOUGH_NEAR and self.distance <= MEAN_DISTANCE


def is_coloured(pixels: Pixels) -> bool:
    """Tell whether an image `(H, W, 3)` has colours to speak of: grey noise of a JPEG is none."""
    if pixels.ndim != 3 or pixels.dtype != np.uint8:
        return False
    sample = _sample(pixels).astype(np.int16)
    return float((np.ptp(sample, axis=1) > COLOURED).mean()) >= ENOUGH_COLOURED


def match_palette(pixels: Pixels) -> PaletteMatch | None:
    """Find the palette that an 8-bit RGB image follows best; None for a grey one."""
    if not is_coloured(pixels):
        return None
    colours = _to_space(_sample(pixels))
    best = None
    for name in PALETTES:
        distances = np.asarray(_curve_tree(name).query(colours)[0])
        found = PaletteMatch(name, float(np.minimum(distances, 4 * NEAR).mean()), float((distances <= NEAR).mean()))
        if best is None or found.distance < best.distance:
            best = found
    return best


def to_values(pixels: Pixels, palette: str) -> NDArray[np.uint8]:
    """Turn an 8-bit RGB image in a palette's colours back into values `(H, W)`, 0 cold to 255 hot.

    Where colours come again along the palette (rainbows), or JPEG has mixed those of two sides of an edge, several
    values are near: the one that fits its surroundings is taken.
    """
    step = 256 // _LEVELS
    red, green, blue = (pixels[..., channel].astype(np.int32) // step for channel in range(3))
    cells = (red * _LEVELS + green) * _LEVELS + blue
    # An image in a palette's colours has a few thousand of the 262,144 cells.
    present = np.zeros(_LEVELS**3, bool)
    present[cells] = True
    places = np.cumsum(present)[cells] - 1
    candidates, distances = (found[places] for found in _candidates(np.flatnonzero(present), palette))
    values = np.ascontiguousarray(candidates[..., 0])
    for _ in range(_ROUNDS):
        import cv2

        around = cv2.medianBlur(values, _SURROUNDINGS).astype(np.float32)
        cost = distances + _SMOOTHNESS * np.abs(candidates - around[..., None])
        values = np.asarray(np.take_along_axis(candidates, cost.argmin(axis=-1)[..., None], axis=-1)[..., 0], np.uint8)
    return values


def colourise(values: NDArray[np.uint8], palette: str) -> NDArray[np.uint8]:
    """Show values `(H, W)` in a palette's colours `(H, W, 3)`."""
    colours: NDArray[np.uint8] = np.rint(_curve(palette, 256)).astype(np.uint8)[values]
    return colours


def _sample(pixels: Pixels) -> Pixels:
    step = max(1, int(np.sqrt(pixels.shape[0] * pixels.shape[1] / _SAMPLE)))
    return pixels[step // 2 :: step, step // 2 :: step].reshape(-1, 3)


@cache
def _curve(palette: str, points: int) -> NDArray[np.float64]:
    steps = np.array(_STEPS[palette], dtype=np.float64)
    places = np.linspace(0, len(steps) - 1, points)
    channels = [np.interp(places, np.arange(len(steps)), steps[:, channel]) for channel in range(3)]
    return np.asarray(np.stack(channels, axis=1), np.float64)


def _to_space(colours: NDArray[np.generic]) -> NDArray[np.float64]:
    """Turn RGB `(N, 3)` into weighted YCbCr."""
    import cv2  # here: options name the palettes, and --help does not wait for OpenCV

    converted = cv2.cvtColor(np.asarray(colours, np.float32)[None] / 255, cv2.COLOR_RGB2YCrCb)[0]
    weighted: NDArray[np.float64] = np.asarray(converted, np.float64) * 255 * _WEIGHTS
    return weighted


@cache
def _curve_tree(palette: str) -> "KDTree":
    from scipy.spatial import KDTree  # a third of a second, which the names of palettes need not wait for

    return KDTree(_to_space(_curve(palette, _POINTS)))


def _candidates(cells: NDArray[np.intp], palette: str) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return for each cell of colour space the nearest values `(N, 4)`, the nearest first, and how far they are.

    Values are the local minima of the distance along the curve; where there are fewer, their distance is infinite.
    """
    curve = _to_space(_curve(palette, 256)).astype(np.float32)
    colours = np.stack([cells // _LEVELS**2, cells // _LEVELS % _LEVELS, cells % _LEVELS], axis=1)
    step = 256 // _LEVELS
    points = _to_space(colours * step + (step - 1) / 2).astype(np.float32)
    values = np.empty((len(cells), _CANDIDATES), np.uint8)
    distances = np.empty(values.shape, np.float32)
    for start in range(0, len(cells), _CELLS_TOGETHER):
        part = slice(start, start + _CELLS_TOGETHER)
        squares = (points[part] ** 2).sum(1)[:, None] - 2 * points[part] @ curve.T + (curve**2).sum(1)
        far = np.pad(np.sqrt(np.maximum(squares, 0)), ((0, 0), (1, 1)), constant_values=np.inf)
        inner = far[:, 1:-1]
        minima = np.where((inner <= far[:, :-2]) & (inner < far[:, 2:]), inner, np.inf)
        order = np.argsort(minima, axis=1)[:, :_CANDIDATES]
        values[part], distances[part] = order, np.take_along_axis(minima, order, axis=1)
    return values, distances
