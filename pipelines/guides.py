"""What guides each crop of a training run, and what its loss is to follow: texts, balances, and their wishes.

Like its window, the guide of crop n is a pure function of the seed and n (crops.py).

Shape suffixes: T text dimension, W wishes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from upfusion.losses import WISHES
from upfusion.phrase_bank import PhraseBank

_GUIDE = 3  # which random numbers a generator is for, beside those of crops.py

JITTER = 0.35
"""Largest length of the noise that is added to the embedding of a phrase (of length 1): other words for the same."""


@dataclass(frozen=True)
class Guide:
    """What the network is given, and what it should make of it."""

    text_T: Tensor
    balance: float
    wish_W: Tensor
    """Balance, hot, dark and quiet, as in `upfusion.phrases.Wish`."""


@dataclass(frozen=True, kw_only=True)
class GuideRules:
    """How guides are drawn."""

    phrases: float = 0.0
    """Share of the crops guided by a phrase of the bank."""
    balances: float = 0.0
    """Share of the other crops guided by a number as well."""
    seed: int = 0

    def draw(self, number: int, text_T: Tensor, bank: PhraseBank | None) -> Guide:
        """Return the guide of crop `number`, whose pair is guided by `text_T` where nothing else is drawn."""
        rng = np.random.default_rng([self.seed, _GUIDE, number])
        wish_W = torch.zeros(WISHES)
        if bank is not None and rng.random() < self.phrases:
            index = int(rng.integers(len(bank.texts)))
            wish_W = bank.wishes[index].clone()
            text_T = _jitter(bank.embeddings[index], rng)
        balance = float(rng.uniform(-1, 1)) if rng.random() < self.balances else 0.0
        if wish_W[0]:
            balance = 0.0  # the text has said it
        wish_W[0] += balance
        return Guide(text_T, balance, wish_W)


def _jitter(text_T: Tensor, rng: np.random.Generator) -> Tensor:
    noise_T = torch.from_numpy(rng.standard_normal(len(text_T), dtype=np.float32))
    moved_T = text_T + noise_T * (JITTER * rng.random() / len(text_T) ** 0.5)
    return moved_T / moved_T.norm()
