"""What a text or a number asks of the fused image, as four numbers; and how a text is read into them.

Shape suffixes: B batch, T text dimension, W wishes.
"""

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class Wish(NamedTuple):
    """What is asked of the fused image; all zero asks for both sources alike."""

    balance: float = 0.0
    """-1 keeps source A (visible, CT, PET, SPECT, optical; its colour), 1 source B (infrared, MRI, NIR, SAR)."""
    hot: float = 0.0
    """0..1: how far hot or bright targets of either source (people, engines, lesions, uptake) stay bright."""
    dark: float = 0.0
    """0..1: how far shadows are lifted to show what lies in the dark."""
    quiet: float = 0.0
    """0..1: how far noise and grain are suppressed."""


WISHES = len(Wish())

READERS = Path(__file__).parent / "text_readers"
"""Where the readers lie that ship with the package, as `ENCODER.safetensors`."""

UNHEARD = 0.15
"""What is read below this is nothing: a text that asks for nothing leaves the picture alone."""


class TextReader(nn.Module):
    """Reads the wishes of a text from its embedding, (B, T) -> (B, W).

    The balance is a product: which source the text names, whether it asks for more or less of it, and how much. Each
    factor is learned from all sentences, which holds for unseen wordings; the product alone does not (it is an XOR).
    It learns from sentences alone (`upfusion.read_texts`), not from images, and is frozen when images are learned from.
    """

    def __init__(self, text_dim: int, hidden: int = 224, dropout: float = 0.2) -> None:
        super().__init__()
        self.scale = text_dim**0.5
        self.first = nn.Linear(text_dim, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, 2 + WISHES)
        self.dropout = nn.Dropout(dropout)

    def forward(self, text_BT: Tensor) -> Tensor:
        """Read wishes; what lies below the threshold UNHEARD is exactly 0."""
        return F.softshrink(join_factors(self.factors(text_BT)), UNHEARD) / (1 - UNHEARD)

    def factors(self, text_BT: Tensor) -> Tensor:
        """Read (B, 2 + W) in -1..1: the source named (B is 1), more or less of it, how much; hot, dark, quiet."""
        x_BH = self.dropout(F.gelu(self.first(text_BT * self.scale)))
        x_BH = self.dropout(F.gelu(self.second(x_BH)))
        return torch.tanh(self.last(x_BH))


def join_factors(factors_BX: Tensor) -> Tensor:
    """Return the wishes (B, W), without the threshold, of what `TextReader.factors` reads."""
    source_B1, more_B1, amount_B1 = factors_BX[:, :3].chunk(3, dim=1)
    return torch.cat([source_B1 * more_B1 * amount_B1.clamp(min=0), factors_BX[:, 3:]], dim=1)


def join_wishes(read_BW: Tensor, balance_B: Tensor) -> Tensor:
    """Add a balance to what a text wishes for, and keep all within their ranges."""
    balance_B1 = (read_BW[:, :1] + balance_B[:, None]).clamp(-1, 1)
    return torch.cat([balance_B1, read_BW[:, 1:].clamp(0, 1)], dim=1)


def load_reader_weights(encoder: str) -> dict[str, Tensor] | None:
    """Return the weights of the reader that ships for a text encoder, or None where there is none."""
    path = READERS / f"{encoder.replace('/', '-')}.safetensors"
    return load_file(path) if path.is_file() else None
