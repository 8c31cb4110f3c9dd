"""The baselines as a job runs them: on pixels of 8 and 16 bits, in the colour of A."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from upfusion.baselines import BASELINES, RULES
from upfusion.color import ColorRule, Pixels, exchange_luma, luma8
from upfusion.fuser import Fuser, in_colors_of_a, lumas_of, on_device


class BaselineFuser(Fuser):
    """Fuses by a rule without weights (one of RULES), on the CPU; text and balance have no meaning for it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.device = torch.device("cpu")

    def fuse_batch(
        self,
        a: Sequence[Pixels],
        b: Sequence[Pixels],
        text_BT: Tensor,  # noqa: ARG002  # a network takes both
        balances: Sequence[float] | None = None,  # noqa: ARG002
        colors: Sequence[ColorRule] | None = None,
    ) -> list[Pixels]:
        """Fuse pairs; sources of 8 bits give the image that an evaluation of the baseline measures."""
        if any(image.dtype != np.uint8 for image in (*a, *b)):
            pixels_a, pixels_b = on_device(a, self.device), on_device(b, self.device)
            return in_colors_of_a(pixels_a, pixels_b, self._fuse_lumas(lumas_of(pixels_a), lumas_of(pixels_b)), colors)
        fuse = BASELINES[self.name]
        rules: Sequence[ColorRule] = colors or ["keep-chroma"] * len(a)
        return [
            exchange_luma(one_a, fuse(luma8(one_a), luma8(one_b)) / np.float32(255), rule=color)
            for one_a, one_b, color in zip(a, b, rules, strict=True)
        ]

    def _fuse_lumas(self, a_B1HW: Tensor, b_B1HW: Tensor) -> Tensor:
        """Fuse lumas in [0, 1] without rounding into (B, H, W)."""
        fuse = RULES[self.name]
        pairs = zip(255 * a_B1HW, 255 * b_B1HW, strict=True)
        return torch.stack([torch.from_numpy(fuse(one_a[0].numpy(), one_b[0].numpy())) for one_a, one_b in pairs]) / 255
