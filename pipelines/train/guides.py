"""What guides each crop of a training run, and what its loss is to follow: texts, and what is wished for.

Like its window, the guide of crop n is a pure function of the seed and n (crops.py).

Shape suffixes: T text dimension, W wishes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from upfusion.phrase_bank import PhraseBank
from upfusion.wishes import Wish

_GUIDE = 3  # which random numbers a generator is for, beside those of crops.py

JITTER = 0.35
"""Largest length of the noise that is added to the embedding of a phrase (of length 1): other words for the same."""


@dataclass(frozen=True)
class Guide:
    """What the network is given, and what it should make of it."""

    text: Tensor
    """(T,)."""
    wish: Tensor
    """(W,), as in `upfusion.wishes.Wish`."""


@dataclass(frozen=True, kw_only=True)
class GuideRules:
    """How guides are drawn."""

    phrases: float = 0.0
    """Share of the crops guided by a phrase of the bank, which says what is wished for."""
    wishes: float = 0.0
    """Share of the other crops for which something is wished at random: a balance, and now and then more."""
    seed: int = 0

    def draw(self, number: int, text_T: Tensor, bank: PhraseBank | None) -> Guide:
        """Return the guide of crop `number`, whose pair is guided by `text_T` where nothing else is drawn."""
        rng = np.random.default_rng([self.seed, _GUIDE, number])
        if bank is not None and rng.random() < self.phrases:
            index = int(rng.integers(len(bank.texts)))
            return Guide(_jitter(bank.embeddings[index], rng), bank.wishes[index])
        wish = _draw_wish(rng) if rng.random() < self.wishes else Wish()
        return Guide(text_T, torch.tensor(wish))


def _draw_wish(rng: np.random.Generator) -> Wish:
    """Draw a balance, every fifth time an end of the dial, and each other wish every sixth time."""
    balance = rng.choice([-1.0, 1.0]) if rng.random() < 0.2 else rng.uniform(-1, 1)
    hot, dark, quiet = (float(rng.uniform(0.2, 1)) if rng.random() < 1 / 6 else 0.0 for _ in range(3))
    return Wish(float(balance), hot, dark, quiet)


def _jitter(text_T: Tensor, rng: np.random.Generator) -> Tensor:
    noise_T = torch.from_numpy(rng.standard_normal(len(text_T), dtype=np.float32))
    moved_T = text_T + noise_T * (JITTER * rng.random() / len(text_T) ** 0.5)
    return moved_T / moved_T.norm()
