"""What fuses pairs of images: a trained network, a network of others, or a rule without one."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from upfusion.color import ColorRule, Pixels
from upfusion.color_tensors import exchange_luma, luma, to_array, to_device, white_level
from upfusion.tiles import Tiles


class Fuser(ABC):
    """Fuses pairs of one size on one device."""

    device: torch.device
    tiles: Tiles | None = None
    """How large images are tiled; None where they are fused whole."""

    @abstractmethod
    def fuse_batch(
        self,
        a: Sequence[Pixels],
        b: Sequence[Pixels],
        text_BT: Tensor,
        balances: Sequence[float] | None = None,
        colors: Sequence[ColorRule] | None = None,
    ) -> list[Pixels]:
        """Fuse pairs of one size, each with its own row of `text_BT`, balance and colour rule.

        Raises FloatingPointError when the result holds NaN or Inf.
        """


def lumas_of(images: Sequence[Tensor]) -> Tensor:
    """Return the lumas (B, 1, H, W) in [0, 1] of images of one size."""
    return torch.stack([luma(image) for image in images])[:, None]


def on_device(images: Sequence[Pixels], device: torch.device) -> list[Tensor]:
    """Put images onto a device."""
    return [to_device(image, device) for image in images]


def in_colors_of_a(
    a: Sequence[Tensor], b: Sequence[Tensor], fused_BHW: Tensor, colors: Sequence[ColorRule] | None
) -> list[Pixels]:
    """Give fused lumas in [0, 1] the colours of A, and take the images off the device.

    They have 16 bits where either source has 16. Raises FloatingPointError when a luma holds NaN or Inf.
    """
    rules: Sequence[ColorRule] = colors or ["keep-chroma"] * len(a)
    images = [
        exchange_luma(one_a, one, max(white_level(one_a), white_level(one_b)), color)
        for one_a, one_b, one, color in zip(a, b, fused_BHW, rules, strict=True)
    ]
    if not fused_BHW.isfinite().all():
        raise FloatingPointError("the fused luma holds NaN or Inf")
    return [to_array(image) for image in images]
