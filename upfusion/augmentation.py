"""Random changes to crops of a pair, which make a network see more than the data shows.

All functions take the luma of source A and source B as float32 arrays `(H, W)` in [0, 1], and give the same.
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


AUGMENTATIONS: dict[str, Augmentation] = {"flip": flip}
"""Every augmentation by name, in the order in which they are applied."""
