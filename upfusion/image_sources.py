"""What users hand over as an image: files, PIL images, NumPy arrays and PyTorch tensors, and the way back.

Inside, an image is an array `(H, W)` or `(H, W, 3)` of 8 or 16 bits (color.Pixels).
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from upfusion.color import Pixels
from upfusion.images import read_image, to_array

Array = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.floating]
ImageSource = str | Path | Image.Image | Array | Tensor
"""A path; a PIL image; an array `(H, W)` or `(H, W, 3)` or a tensor `(H, W)`, `(1, H, W)` or `(3, H, W)`, of 8 or 16
bits or of floats in [0, 1]."""

_WHITE_16 = 65535


def to_pixels(source: ImageSource) -> Pixels:
    """Return the pixels of an image; floats become 16 bits, in steps of 1/65535.

    Raises ValueError for other types, shapes and value ranges, ImageError and OSError for a file that cannot be read.
    """
    if isinstance(source, str | Path):
        return read_image(source)
    if isinstance(source, Image.Image):
        return to_array(source)
    array = _channels_last(source) if isinstance(source, Tensor) else source
    if not isinstance(array, np.ndarray):
        raise ValueError(f"expected a path, a PIL image, an array or a tensor, got {type(source).__name__}")
    if np.issubdtype(array.dtype, np.floating):
        array = _to_16_bits(array)
    native = array.dtype.newbyteorder("=")
    if native not in (np.uint8, np.uint16) or not (array.ndim == 2 or array.shape[2:] == (3,)):
        raise ValueError(
            f"expected an array (H, W) or (H, W, 3) of 8 or 16 bits or of floats in [0, 1], got {array.dtype} with "
            f"shape {array.shape}"
        )
    # torch takes one byte order, and neither views that run backwards nor those that cannot be written.
    return np.require(array, native, ("C", "W", "E"))


def as_given(pixels: Pixels, source: ImageSource) -> NDArray[Any] | Tensor:
    """Return a result as the source was given: a tensor for a tensor, floats in [0, 1] for floats, else as it is.

    A tensor has the source's dimensions and its device; one of 16 bits comes back as floats.
    """
    if isinstance(source, Tensor):
        channels_first = torch.from_numpy(
            np.ascontiguousarray(pixels if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0))
        )
        if source.is_floating_point() or pixels.dtype == np.uint16:
            dtype = source.dtype if source.is_floating_point() else torch.float32
            channels_first = (channels_first.float() / np.iinfo(pixels.dtype).max).to(dtype)
        return channels_first.reshape(source.shape).to(source.device)
    if isinstance(source, np.ndarray) and np.issubdtype(source.dtype, np.floating):
        scaled: NDArray[np.floating] = (pixels / np.float64(np.iinfo(pixels.dtype).max)).astype(source.dtype)
        return scaled
    return pixels


def _channels_last(tensor: Tensor) -> Array:
    if tensor.ndim == 3 and tensor.shape[0] not in (1, 3):
        raise ValueError(f"expected a tensor (H, W), (1, H, W) or (3, H, W), got shape {tuple(tensor.shape)}")
    tensor = tensor.detach().cpu()
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    array: Array = tensor.numpy()
    if array.ndim == 3:
        return array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, 2)
    return array


def _to_16_bits(array: Array) -> NDArray[np.uint16]:
    # Written so that NaN is refused too.
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        raise ValueError(f"floats must lie in [0, 1], these go from {array.min():g} to {array.max():g}")
    scaled: NDArray[np.uint16] = np.rint(array.astype(np.float64) * _WHITE_16).astype(np.uint16)
    return scaled
