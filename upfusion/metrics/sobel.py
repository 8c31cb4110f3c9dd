"""The Sobel gradient, as the metrics of edges measure it."""

import math

from torch import Tensor


def sobel(images: Tensor) -> tuple[Tensor, Tensor]:
    """Length and angle of the gradient inside `(N, C, H, W)`, each `(N, C, H - 2, W - 2)`.

    The angle is -pi/2..pi/2, and pi/2 where the horizontal gradient is 0.
    """
    smooth = images[:, :, :-2] + images[:, :, 2:]
    smooth.add_(images[:, :, 1:-1], alpha=2)
    horizontal = smooth[..., :-2] - smooth[..., 2:]
    difference = images[:, :, 2:] - images[:, :, :-2]
    vertical = difference[..., :-2] + difference[..., 2:]
    vertical.add_(difference[..., 1:-1], alpha=2)
    length = horizontal.square().addcmul_(vertical, vertical).sqrt_()
    angle = vertical.div_(horizontal).atan_().masked_fill_(horizontal == 0, math.pi / 2)
    return length, angle
