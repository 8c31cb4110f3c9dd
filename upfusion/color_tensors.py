"""What color.py does, on tensors: on the device that the network is on, so that pixels travel as they are stored.

An image is `(H, W)` or `(H, W, 3)`, uint8, or int32 where it has 16 bits, a type that every device can compute with.
"""

import numpy as np
import torch
from torch import Tensor

from upfusion.color import LUMA_WEIGHTS, ColorRule, Pixels

THOUSANDTHS = tuple(round(1000 * float(weight)) for weight in LUMA_WEIGHTS)


def to_device(image: Pixels, device: torch.device) -> Tensor:
    """Put an image onto a device; to a GPU the copy is made while this process continues."""
    if device.type != "cuda":
        return torch.from_numpy(np.array(image, np.int32 if image.dtype == np.uint16 else image.dtype))
    pinned = torch.empty(image.shape, dtype=torch.uint8 if image.dtype == np.uint8 else torch.int32, pin_memory=True)
    pinned.numpy()[...] = image
    return pinned.to(device, non_blocking=True)


def white_level(image: Tensor) -> int:
    """Return the value of white."""
    return 255 if image.dtype == torch.uint8 else 65535


def luma(image: Tensor) -> Tensor:
    """Return BT.601 luma in [0, 1] as float32 `(H, W)`."""
    scaled = image.float()
    if image.ndim == 3:
        scaled = _weigh(scaled, [float(weight) for weight in LUMA_WEIGHTS])
    return scaled * (1 / white_level(image))


def luma8(image: Tensor) -> Tensor:
    """Return luma on the 0..255 scale, rounded half up to whole levels, as float32 `(H, W)`."""
    step = white_level(image) // 255
    levels = image.int()
    if image.ndim == 2:
        return torch.div(levels + step // 2, step, rounding_mode="floor").float()
    thousands = _weigh(levels, THOUSANDTHS)
    return torch.div(thousands + 500 * step, 1000 * step, rounding_mode="floor").float()


def exchange_luma(image: Tensor, fused: Tensor, top: int, rule: ColorRule = "keep-chroma") -> Tensor:
    """Give an image another luma `(H, W)` in [0, 1] and keep its Cb and Cr; `top` is the value of white that comes out.

    See color.exchange_luma.
    """
    exchanged = fused * top
    if image.ndim == 3:
        scaled = image.float() * (top / white_level(image))
        before = luma(image) * top
        if rule == "keep-chroma":
            room_down, room_up = -scaled.amin(-1), top - scaled.amax(-1)
            exchanged = scaled + torch.minimum(torch.maximum(exchanged - before, room_down), room_up)[..., None]
        else:
            exchanged = exchanged.clamp(0, top)
            chroma = scaled - before[..., None]
            most_up, most_down = chroma.amax(-1).clamp_min(1e-3), -chroma.amin(-1).clamp_max(-1e-3)
            kept = torch.minimum((top - exchanged) / most_up, exchanged / most_down).clamp_max(1)
            exchanged = exchanged[..., None] + kept[..., None] * chroma
    return exchanged.clamp(0, top).round().to(torch.uint8 if top == 255 else torch.int32)


def to_array(image: Tensor) -> Pixels:
    """Take an image from its device, waiting until it is computed."""
    pixels = image.cpu().numpy()
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.uint16)


def _weigh(image_HWC: Tensor, weights: "list[float] | tuple[int, ...]") -> Tensor:
    red, green, blue = image_HWC.unbind(-1)
    return red * weights[0] + green * weights[1] + blue * weights[2]
