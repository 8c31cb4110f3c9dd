"""The Sobel response of luma in losses, gains and measures of a response; metrics/sobel.py has that of metrics."""

import torch
import torch.nn.functional as F
from torch import Tensor


def sobel_magnitude(x_B1HW: Tensor) -> Tensor:
    """Sum of the absolute horizontal and vertical Sobel responses, borders reflected: (B, 1, H, W)."""
    kernel = x_B1HW.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack([kernel, kernel.T])[:, None]
    responses = F.conv2d(F.pad(x_B1HW, (1, 1, 1, 1), mode="reflect"), kernels)
    return responses.abs().sum(dim=1, keepdim=True)
