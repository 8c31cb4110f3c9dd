"""Weights from files that others wrote, without executing anything that lies in them."""

import io
import warnings
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors


def parse_weights(data: bytes, origin: str) -> dict[str, Any]:
    """Read a safetensors file or a pickle of tensors; `origin` names it in errors.

    Raises ValueError when the bytes are neither, are damaged, or are a pickle that holds more than tensors, plain
    containers and numbers.
    """
    if data[8:9] == b"{":
        try:
            return dict(parse_tensors(data))
        except SafetensorError as error:
            raise ValueError(f"{origin} is not a file of weights, or is damaged: {error}") from error
    try:
        with warnings.catch_warnings(action="ignore"):
            # weights_only: a pickle that would run code is refused instead.
            found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        # Whatever lies in a file. Not PyTorch's own words, which are how to have a pickle executed after all.
        raise ValueError(
            f"{origin} is not a file of weights, or holds more than tensors and plain containers; nothing else is "
            "loaded, because a pickle can run code"
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"{origin}: expected weights by name, got a {type(found).__name__}")
    return found
