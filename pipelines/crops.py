"""The crops of a training run: which pair, which window, which prompt, as pure functions of the seed and a number.

Crop n of a run is the same whoever draws it, whenever: on one worker or on eight, in a run that was never
interrupted or in one that goes on for the third time. So the position in the stream is all that a checkpoint
has to hold of it.

Shape suffixes: H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upfusion.augmentation import Luma, augment

_ORDER, _CROP = 0, 1  # which random numbers a generator is for


class Order:
    """The order in which pairs are drawn: epoch after epoch, each shuffled anew.

    In an epoch a pair comes as often as its share of all weights says, rounded up or down at random; where all
    weights are equal, exactly once.
    """

    def __init__(self, weights: Sequence[float], seed: int) -> None:
        self.pairs_an_epoch = len(weights)
        self._seed = seed
        shares = np.cumsum(np.asarray(weights, dtype=np.float64))
        self._bounds = shares / shares[-1] * len(weights)
        self._epoch: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, dtype=np.int64))

    def __getitem__(self, number: int) -> int:
        """Return the index of the pair that crop `number` of the run is taken from."""
        epoch, position = divmod(number, self.pairs_an_epoch)
        if self._epoch[0] != epoch:
            self._epoch = epoch, self._shuffled(epoch)
        return int(self._epoch[1][position])

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([self._seed, _ORDER, epoch])
        # Systematic sampling: ticks one apart from a random start, over the weights laid end to end.
        ticks = rng.random() + np.arange(self.pairs_an_epoch)
        drawn = np.minimum(np.searchsorted(self._bounds, ticks, side="right"), self.pairs_an_epoch - 1)
        return rng.permutation(drawn)


@dataclass(frozen=True)
class Crop:
    """One sample: lumas `(side, side)` in [0, 1], and the name of the built-in prompt drawn for it, if one was."""

    a: Luma
    b: Luma
    prompt: str | None


@dataclass(frozen=True, kw_only=True)
class CropRules:
    """How a crop is taken from a pair."""

    side: int
    halved: float = 0.0
    """Share of the crops taken at half size, from images with room for it."""
    augmentations: tuple[str, ...] = ("flip",)
    random_prompts: float = 0.0
    """Share of the crops that any prompt of `prompts` guides."""
    prompts: tuple[str, ...] = ()
    seed: int = 0

    def draw(self, a_HW: NDArray[np.float16], b_HW: NDArray[np.float16], number: int) -> Crop:
        """Take crop `number` of the run from a pair of lumas in [0, 1], both sides at least `side`."""
        rng = np.random.default_rng([self.seed, _CROP, number])
        halved = rng.random() < self.halved and min(a_HW.shape) >= 2 * self.side
        side = 2 * self.side if halved else self.side
        top, left = (int(rng.integers(length - side + 1)) for length in a_HW.shape)
        window = (slice(top, top + side), slice(left, left + side))
        a, b = (luma_HW[window].astype(np.float32) for luma_HW in (a_HW, b_HW))
        if halved:
            a, b = _half(a), _half(b)
        a, b = augment(a, b, self.augmentations, rng)
        drawn = self.prompts and rng.random() < self.random_prompts
        prompt = self.prompts[int(rng.integers(len(self.prompts)))] if drawn else None
        return Crop(np.ascontiguousarray(a), np.ascontiguousarray(b), prompt)


def _half(luma_HW: Luma) -> Luma:
    """Average blocks of 2x2 pixels."""
    height, width = luma_HW.shape
    halved: Luma = luma_HW.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3), dtype=np.float32)
    return halved
