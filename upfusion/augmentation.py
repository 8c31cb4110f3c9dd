"""Random changes to crops of a pair, so that a network sees more kinds of sensor than its data shows.

All functions take the luma of source A and source B as float32 arrays `(H, W)` in [0, 1], and give the same. Each
makes its change in a share of the cases only.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

Luma = NDArray[np.float32]
Augmentation = Callable[[Luma, Luma, np.random.Generator], tuple[Luma, Luma]]


def augment(a: Luma, b: Luma, names: Iterable[str], rng: np.random.Generator) -> tuple[Luma, Luma]:
    """Apply augmentations by name, one after another."""
    for name in names:
        a, b = AUGMENTATIONS[name](a, b, rng)
    return a, b


def flip(a: Luma, b: Luma, rng: np.random.Generator) -> tuple[Luma, Luma]:
    """Mirror both sources, each axis in half of the cases."""
    rows, columns = (slice(None, None, int(rng.choice([-1, 1]))) for _ in range(2))
    return a[rows, columns], b[rows, columns]


def neighbour(a: Luma, b: Luma, rng: np.random.Generator) -> tuple[Luma, Luma]:
    """Make B of A in 20 % of the cases, as a neighbouring band of light sees it: near infrared beside visible.

    Edges are common to both then; tones, local brightness (leaves, sky) and noise are not, and a little of the true B
    remains.
    """
    if rng.random() >= 0.2:
        return a, b
    near = _retone(a, rng) * _smooth_field(a.shape, rng)
    near /= max(1, np.quantile(near, 0.98))  # exposed so that little of it is white
    share = rng.uniform(0, 0.4)
    noise = rng.normal(0, rng.uniform(0, 0.012), a.shape)
    return a, _in_8_bits(np.clip((1 - share) * near + share * b + noise, 0, 1))


def soften(a: Luma, b: Luma, rng: np.random.Generator) -> tuple[Luma, Luma]:
    """Blur one of the sources in 20 % of the cases, as PET and SPECT are beside MRI."""
    if rng.random() >= 0.2:
        return a, b
    return (_shrink_and_enlarge(a, rng), b) if rng.random() < 0.5 else (a, _shrink_and_enlarge(b, rng))


def invert(a: Luma, b: Luma, rng: np.random.Generator) -> tuple[Luma, Luma]:
    """Turn dark into bright, either source for itself in 15 % of the cases: hot may be black."""
    a, b = (1 - x if rng.random() < 0.15 else x for x in (a, b))
    return a, b


def tone(a: Luma, b: Luma, rng: np.random.Generator) -> tuple[Luma, Luma]:
    """Change gamma, gain and offset, of either source for itself in 40 % of the cases."""
    a, b = (_retone(x, rng) if rng.random() < 0.4 else x for x in (a, b))
    return a, b


def dim(a: Luma, b: Luma, rng: np.random.Generator) -> tuple[Luma, Luma]:
    """Darken both sources, each to a tenth to a half, in 15 % of the cases, as at night: few grey levels are left."""
    if rng.random() >= 0.15:
        return a, b
    a, b = (_in_8_bits(x * rng.uniform(0.1, 0.5)) for x in (a, b))
    return a, b


def mask(a: Luma, b: Luma, rng: np.random.Generator) -> tuple[Luma, Luma]:
    """Blacken what lies outside an ellipse in 20 % of the cases, half of them with a bright rim in A, as a skull."""
    if rng.random() >= 0.2:
        return a, b
    distance = _distance_to_ellipse(a.shape, rng)
    inside = _single(1 / (1 + np.exp(np.clip(2 * distance, -30, 30))))
    a, b = a * inside, b * inside
    if rng.random() < 0.5:
        rim = _single(rng.uniform(0.5, 1) * np.exp(-((distance + rng.uniform(2, 8)) ** 2) / rng.uniform(2, 12)))
        a = np.maximum(a, rim)
        if rng.random() < 0.5:
            b = b * (1 - rim)
    return a, b


def exchange(a: Luma, b: Luma, rng: np.random.Generator) -> tuple[Luma, Luma]:
    """Let the sources change places in 30 % of the cases."""
    return (b, a) if rng.random() < 0.3 else (a, b)


AUGMENTATIONS: dict[str, Augmentation] = {
    "flip": flip,
    "neighbour": neighbour,
    "soften": soften,
    "invert": invert,
    "tone": tone,
    "dim": dim,
    "mask": mask,
    "exchange": exchange,
}
"""Every augmentation by name, in the order in which they are applied."""


def _shrink_and_enlarge(x: Luma, rng: np.random.Generator) -> Luma:
    """Blur by shrinking to a half to a fifth."""
    import torch  # here: a training job's --help names the augmentations, and is not to wait for PyTorch
    import torch.nn.functional as F

    shrunk = F.interpolate(
        torch.from_numpy(x.copy())[None, None], scale_factor=1 / float(rng.uniform(2, 5)), mode="area"
    )
    enlarged = F.interpolate(shrunk, size=x.shape, mode="bicubic", align_corners=False)
    blurred: Luma = enlarged[0, 0].clamp(0, 1).numpy()
    return blurred


def _smooth_field(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return factors of about a half to two that vary over a quarter to the whole of the crop."""
    height, width = shape
    cells = int(rng.integers(2, 5))
    logs = rng.normal(0, 0.35, (cells, cells))
    rows, columns = (np.linspace(0, cells - 1, length) for length in (height, width))
    across = np.stack([np.interp(columns, np.arange(cells), row) for row in logs])
    down = np.stack([np.interp(rows, np.arange(cells), column) for column in across.T], axis=1)
    field: NDArray[np.float64] = np.exp(down)
    return field


def _retone(x: Luma, rng: np.random.Generator) -> Luma:
    gamma, gain, offset = np.exp(rng.uniform(-0.7, 0.7)), rng.uniform(0.5, 1.3), rng.uniform(-0.15, 0.15)
    return _in_8_bits(np.clip(gain * x**gamma + offset, 0, 1))


def _in_8_bits(x: NDArray[np.floating]) -> Luma:
    return _single(np.round(x * 255) / 255)


def _single(x: NDArray[np.floating]) -> Luma:
    single: Luma = x.astype(np.float32)
    return single


def _distance_to_ellipse(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return about how many pixels each pixel lies outside a turned ellipse somewhere in the crop."""
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float64)
    y, x = y - rng.uniform(0, height), x - rng.uniform(0, width)
    turn = rng.uniform(0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    long, short = rng.uniform(0.5, 1.2, size=2) * width
    distance: NDArray[np.float64] = (np.sqrt((u / long) ** 2 + (v / short) ** 2) - 1) * min(long, short)
    return distance
