"""Q_Y: structural similarity to both sources, or where they differ to the nearer one."""

import torch
from torch import Tensor
from torch.nn import functional

from upfusion.metrics.flat import nan_where_flat
from upfusion.metrics.strips import strips
from upfusion.metrics.windows import blur, gaussian_window

WINDOW_SIZE = 7
SIGMA = 1.5
SMALLEST_SIDE = 11
C = 2e-16
SIMILAR = 0.75  # SSIM of A and B from which on F is compared with both
