"""The image feature that cameras of different kinds share: locally normalised gradients with doubled angles.

One complex number per pixel. Its angle is twice that of the gradient, so that an edge and the same edge with reversed
contrast (a warm person is bright in infrared and dark in visible light) are the same number, and random directions
average to 0. Squared gradients: Granlund and Knutsson, Signal Processing for Computer Vision, 1995; local normalisation
as in dense descriptors for remote sensing (CFOG, doi:10.1109/TGRS.2019.2924684), of which this is a two-channel form.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float32]
"""A grey image `(H, W)` on the scale 0 to 255."""
Field = NDArray[np.complex64]
"""A gradient field `(H, W)`; magnitudes are at most about 2."""
Mask = NDArray[np.bool_]

_STRETCH = (0.5, 99.5)
_CEILING = 2.0


@dataclass(frozen=True)
class Scales:
    """Gaussian widths of a gradient field, in pixels."""

    smoothing: float = 1.2
    """Before the derivative."""
    neighbourhood: float = 10.0
    """Over which contrast is normalised."""


FINE = Scales()
"""For images of 320 pixels and more on their longer side."""
COARSE = Scales(smoothing=1.0, neighbourhood=6.0)
"""For images of 160 pixels."""


def to_grey(image: NDArray[Any]) -> Grey:
    """Return an image `(H, W)` or `(H, W, 3)` RGB as grey on the scale 0 to 255.

    8 bits are taken as they are. Deeper or float images (raw thermal counts use a small part of their range) are
    stretched so that all but the darkest and brightest 0.5 % of the pixels fill it; NaN and Inf become the darkest
    value.
    """
    if image.dtype == np.uint8:
        return _luma(image).astype(np.float32)
    grey = _luma(np.asarray(image, dtype=np.float32))
    finite = np.isfinite(grey)
    if not finite.any():
        return np.zeros(grey.shape, np.float32)
    low, high = np.percentile(grey[finite], _STRETCH)
    stretched = (np.where(finite, grey, low) - low) * (255 / max(high - low, 1e-6))
    return np.asarray(np.clip(stretched, 0, 255), np.float32)


def gradient_field(grey: Grey, scales: Scales = FINE, valid: Mask | None = None) -> Field:
    """Return the gradient field of a grey image; it is 0 where `valid` is false."""
    smooth = cv2.GaussianBlur(grey, (0, 0), scales.smoothing)
    x, y = (cv2.Scharr(smooth, cv2.CV_32F, *axis, scale=1 / 32) for axis in ((1, 0), (0, 1)))
    square = x * x + y * y
    magnitude = np.sqrt(square) + np.float32(1e-6)
    floor = np.float32(0.3 * float(magnitude.mean()) + 0.05)
    contrast = magnitude / (_wide_blur(magnitude, scales.neighbourhood) + floor)
    weight = np.minimum(contrast, np.float32(_CEILING)) / (square + np.float32(1e-12))
    field = np.empty((*grey.shape, 2), np.float32)
    field[..., 0] = weight * (x * x - y * y)
    field[..., 1] = weight * (2 * x * y)
    field = np.asarray(cv2.GaussianBlur(field, (0, 0), 1.0), np.float32)
    if valid is not None:
        field *= valid[..., None]
    return field.view(np.complex64)[..., 0]


def _luma(image: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)) if image.ndim == 3 else image


def _wide_blur(image: Grey, sigma: float) -> Grey:
    """Blur with a wide Gaussian at a quarter of the size, which takes a fifth of the time."""
    height, width = image.shape
    small = cv2.resize(image, (max(1, width // 4), max(1, height // 4)), interpolation=cv2.INTER_AREA)
    blurred = cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / 4), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(blurred, np.float32)
