"""Luma out of a colour image, and a fused luma back into it (ITU-R BT.601, full range).

Cb and Cr are multiples of `B - Y` and `R - Y`, so exchanging Y while keeping both is adding the same
difference to R, G and B. Nothing has to be converted there and back, and no rounding is added.
"""

from functools import reduce
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
"""An image `(H, W)` or `(H, W, 3)` of 8 or 16 bits."""

ColorRule = Literal["keep-chroma", "keep-luma"]
"""What gives way where a saturated colour leaves no room for the fused luma: the luma, or the saturation."""

COLOR_RULES: tuple[ColorRule, ...] = get_args(ColorRule)

COLOR_RULE_OF_TASK: dict[str, ColorRule] = {"pet_mri": "keep-luma", "spect_mri": "keep-luma"}
"""The rule of each task, where it is not to keep the chroma: with it the saturated colours of PET and SPECT would hide
the anatomy that MRI shows in them."""


def color_rule(task: str) -> ColorRule:
    """Return the rule that a task has by default."""
    return COLOR_RULE_OF_TASK.get(task, "keep-chroma")


def luma(image: Pixels) -> NDArray[np.float32]:
    """Return BT.601 luma in [0, 1] as float32 `(H, W)`; a grey image is its own luma."""
    scale = np.float32(1 / np.iinfo(image.dtype).max)
    if image.ndim == 2:
        return image.astype(np.float32) * scale
    weighted: NDArray[np.float32] = (image @ LUMA_WEIGHTS) * scale
    return weighted


def luma8(image: Pixels) -> NDArray[np.float32]:
    """Return luma on the 0..255 scale, rounded half up to whole levels: what the metrics measure.

    In whole numbers, because a float formula rounds some colours to the wrong level.
    """
    step = np.uint32(np.iinfo(image.dtype).max // 255)  # 1 for 8 bits, 257 for 16
    if image.ndim == 2:
        return ((image + step // 2) // step).astype(np.float32)
    thousands = image.astype(np.uint32) @ np.array([299, 587, 114], dtype=np.uint32)
    return ((thousands + 500 * step) // (1000 * step)).astype(np.float32)


def exchange_luma(
    image: Pixels,
    fused: NDArray[np.float32],
    dtype: np.dtype[Any] | None = None,
    rule: ColorRule = "keep-chroma",
) -> Pixels:
    """Give an image another luma and keep its Cb and Cr.

    `fused` is luma in [0, 1], `(H, W)`; the result has the shape of `image` and its depth, unless `dtype`
    asks for another. Where a colour leaves no room for the new luma (a saturated red cannot turn brighter),
    keep-chroma stops the luma at the edge of the range; keep-luma scales Cb and Cr down together, by no more than
    the luma needs: the hue stays, the colour turns paler.
    """
    dtype = np.dtype(dtype or image.dtype)
    top = np.float32(np.iinfo(dtype).max)
    exchanged = fused * top
    if image.ndim == 3:
        scaled = image.astype(np.float32) * (top / np.float32(np.iinfo(image.dtype).max))
        before = luma(image) * top
        if rule == "keep-chroma":
            low, high = _extremes(scaled)
            room_down, room_up = -low, top - high
            exchanged = scaled + np.clip(exchanged - before, room_down, room_up)[..., None]
        else:
            exchanged = np.clip(exchanged, 0, top)
            chroma = scaled - before[..., None]
            low, high = _extremes(chroma)
            most_up, most_down = np.maximum(high, 1e-3), np.maximum(-low, 1e-3)
            kept = np.minimum(np.minimum((top - exchanged) / most_up, exchanged / most_down), 1)
            exchanged = exchanged[..., None] + kept[..., None] * chroma
    rounded: Pixels = np.rint(np.clip(exchanged, 0, top)).astype(dtype)
    return rounded


def _extremes(image_HWC: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the lowest and the highest channel of each pixel; `min(axis=-1)` takes ten times as long."""
    first, *others = np.moveaxis(image_HWC, -1, 0)
    return reduce(np.minimum, others, first), reduce(np.maximum, others, first)
