"""The crops of a training run: which pair, which window, which prompt, as pure functions of the seed and a number.

Crop n of a run is always the same: on one worker or on eight, in an uninterrupted run or in one
that resumes for the third time. So a checkpoint has to hold only the position in the
stream.

Shape suffixes: H height, W width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upfusion.augmentation import Luma, augment

_ORDER, _CROP, _OTHER = 0, 1, 2  # which random numbers a generator is for

MIN_CROPS_PER_SIDE = 8
"""In an image at least this many crops wide and high, one crop at full scale shows little."""

HalfLuma = NDArray[np.float16]


class EpochSampler:
    """Samples pairs epoch by epoch, reshuffled in each.

    In an epoch a pair is drawn in proportion to its weight, rounded up or down at random; if all
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
    half_scale_prob: float = 0.0
    """Share of the crops taken at half scale, from images of at least MIN_CROPS_PER_SIDE crops per side."""
    mismatched_pair_prob: float = 0.0
    """Share of the crops whose B is of another pair."""
    augmentations: tuple[str, ...] = ("flip",)
    random_prompts: float = 0.0
    """Share of the crops guided by a random prompt of `prompts`."""
    prompts: tuple[str, ...] = ()
    seed: int = 0

    def other_pair(self, number: int, pairs: int) -> int | None:
        """Return the index of the pair that B of crop `number` is taken from, None for A's own."""
        rng = np.random.default_rng([self.seed, _OTHER, number])
        return int(rng.integers(pairs)) if rng.random() < self.mismatched_pair_prob else None

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
        """Take a random window, and return it with a function that takes the same one from another luma."""
        half_scale_prob = rng.random() < self.half_scale_prob and min(luma_HW.shape) >= MIN_CROPS_PER_SIDE * self.side
        side = 2 * self.side if half_scale_prob else self.side
        top, left = (int(rng.integers(length - side + 1)) for length in luma_HW.shape)

        def take(luma_HW: HalfLuma) -> Luma:
            window: Luma = luma_HW[top : top + side, left : left + side].astype(np.float32)
            return _half(window) if half_scale_prob else window

        return take(luma_HW), take


def _half(luma_HW: Luma) -> Luma:
    """Average blocks of 2x2 pixels."""
    height, width = luma_HW.shape
    half_scale_prob: Luma = luma_HW.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3), dtype=np.float32)
    return half_scale_prob
