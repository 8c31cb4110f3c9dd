"""Where autocast must not reach: small sums whose rounding would show in every pixel."""

from contextlib import AbstractContextManager, nullcontext

import torch


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Switch autocast off on a device for the duration of a `with` block."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
