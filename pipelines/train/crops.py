"""The crops of a training run: which pair, which window, which prompt, as pure functions of the seed and a number.

Crop n of a run is the same whoever draws it, whenever: on one worker or on eight, in a run that was never
interrupted or in one that goes on for the third time. So the position in the stream is all that a checkpoint
has to hold of it.

Shape suffixes: H height, W width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upfusion.augmentation import Luma, augment

_ORDER, _CROP, _OTHER = 0, 1, 2  # which random numbers a generator is for

ROOM = 8
"""An image of so many crops a side shows little of itself in one."""

HalfLuma = NDArray[np.float16]


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
    """Share of the crops taken at half size, from images of at least ROOM crops a side."""
    unrelated: float = 0.0
    """Share of the crops whose B is of another pair."""
    augmentations: tuple[str, ...] = ("flip",)
    random_prompts: float = 0.0
    """Share of the crops that any prompt of `prompts` guides."""
    prompts: tuple[str, ...] = ()
    seed: int = 0

    def other_pair(self, number: int, pairs: int) -> int | None:
        """Return the index of the pair that B of crop `number` is taken from, None for A's own."""
        rng = np.random.default_rng([self.seed, _OTHER, number])
        return int(rng.integers(pairs)) if rng.random() < self.unrelated else None

    def draw(self, a_HW: HalfLuma, b_HW: HalfLuma, number: int) -> Crop:
        """Take crop `number` of the run from two lumas in [0, 1], all sides at least `side`.

        Sources of one size are a pair, and give the same window.
        """
        rng = np.random.default_rng([self.seed, _CROP, number])
        a, take_again = self._window(a_HW, rng)
        b = take_again(b_HW) if a_HW.shape == b_HW.shape else self._window(b_HW, rng)[0]
        a, b = augment(a, b, self.augmentations, rng)
        drawn = self.prompts and rng.random() < self.random_prompts
        prompt = self.prompts[int(rng.integers(len(self.prompts)))] if drawn else None
        return Crop(np.ascontiguousarray(a), np.ascontiguousarray(b), prompt)

    def _window(self, luma_HW: HalfLuma, rng: np.random.Generator) -> tuple[Luma, Callable[[HalfLuma], Luma]]:
        """Take a window at random, and return it with what takes the same one from another luma."""
        halved = rng.random() < self.halved and min(luma_HW.shape) >= ROOM * self.side
        side = 2 * self.side if halved else self.side
        top, left = (int(rng.integers(length - side + 1)) for length in luma_HW.shape)

        def take(luma_HW: HalfLuma) -> Luma:
            window: Luma = luma_HW[top : top + side, left : left + side].astype(np.float32)
            return _half(window) if halved else window

        return take(luma_HW), take


def _half(luma_HW: Luma) -> Luma:
    """Average blocks of 2x2 pixels."""
    height, width = luma_HW.shape
    halved: Luma = luma_HW.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3), dtype=np.float32)
    return halved
