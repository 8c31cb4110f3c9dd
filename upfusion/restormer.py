"""The building blocks of both encoders and the decoder: Restormer (Zamir et al. 2022, arXiv 2111.09881).

Shape suffixes: B batch, C channels, H height, W width, N heads, P pixels (H * W).
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upfusion.channel_map import multiply_channels

STRIP = 2**20
"""Elements of the widest tensor of one strip: 4 MiB. Four times as many took 10 to 30 % longer."""
STRIP_ROWS = 32
"""Rows of a strip, at least: two more are computed and thrown away. With 16, `paper` at 192x192 took 5 % longer."""


class ChannelLayerNorm(nn.Module):
    """Layer norm over the channels of each pixel, with the biased variance and 1e-5 under the root."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        # A fused kernel for channels that lie last; on a GPU also for a gradient, for which it keeps less.
        if x_BCHW.stride(1) == 1 or (not x_BCHW.is_cpu and torch.is_grad_enabled()):
            normed_BHWC = F.layer_norm(x_BCHW.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias)
            return normed_BHWC.permute(0, 3, 1, 2)
        # Half the time of that on a CPU, and the convolutions after it keep the faster layout; on a GPU that makes the
        # whole network 1.3 to 1.9 times as fast in bf16.
        at_least_float = torch.promote_types(x_BCHW.dtype, torch.float32)
        centred_BCHW = x_BCHW - x_BCHW.mean(dim=1, keepdim=True, dtype=at_least_float)
        scale_B1HW = (centred_BCHW.square().mean(dim=1, keepdim=True) + 1e-5).rsqrt()
        return centred_BCHW * scale_B1HW * self.weight[:, None, None] + self.bias[:, None, None]


class TransposedAttention(nn.Module):
    """Multi-head self-attention between channels, linear in the number of pixels (section 3.1 of Restormer)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.qkv_depthwise = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        q, k, v = in_strips(nn.Sequential(self.qkv, self.qkv_depthwise), x_BCHW, self.qkv.out_channels).chunk(3, dim=1)
        heads = self.temperature.shape[0]
        scores = channel_scores(split_heads(q, heads), split_heads(k, heads)) * self.temperature
        return attend_and_project(scores.softmax(dim=-1), v, self.project)


def split_heads(x_BCHW: Tensor, heads: int) -> Tensor:
    """Split channels into heads and flatten the pixels: (B, N, C/N, P)."""
    batch, channels, height, width = x_BCHW.shape
    return x_BCHW.reshape(batch, heads, channels // heads, height * width)


def channel_scores(q_BNCP: Tensor, k_BNCP: Tensor) -> Tensor:
    """Cosine similarity of every query channel with every key channel: (B, N, C, C).

    The channels' lengths divide the small product instead of the two large factors: the same value, and
    two passes over full-resolution tensors less.
    """
    q_length = q_BNCP.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    k_length = k_BNCP.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    scores_BNCC: Tensor = (q_BNCP @ k_BNCP.transpose(-2, -1)) / q_length / k_length.transpose(-2, -1)
    return scores_BNCC


def attend_and_project(attention_BNCC: Tensor, v_BCHW: Tensor, project: nn.Conv2d) -> Tensor:
    """Apply attention and the 1x1 convolution behind it as one matrix: one pass over the pixels instead of two."""
    _, heads, width, _ = attention_BNCC.shape
    project_NCC = project.weight.view(-1, heads, width).transpose(0, 1)
    both_BCC = (project_NCC @ attention_BNCC).transpose(1, 2).flatten(2)
    return multiply_channels(both_BCC, v_BCHW)


class GatedFeedForward(nn.Module):
    """Gated feed-forward with a 3x3 depthwise convolution (section 3.2 of Restormer)."""

    def __init__(self, channels: int, expansion: float) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.depthwise = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return in_strips(self.gate_and_project, x_BCHW, self.project_in.out_channels)

    def gate_and_project(self, x_BCHW: Tensor) -> Tensor:
        """Feed one strip forward."""
        gate, value = self.depthwise(self.project_in(x_BCHW)).chunk(2, dim=1)
        projected: Tensor = self.project_out(F.gelu(gate) * value)
        return projected


def in_strips(function: Callable[[Tensor], Tensor], x_BCHW: Tensor, widest: int) -> Tensor:
    """Apply a function that looks one pixel around itself to one strip of rows after the other, as if to all at once.

    `widest` is the number of channels of the widest tensor inside, which never exists at full size. With glibc's
    allocator every tensor above 32 MiB is fresh memory, and its page faults cost as much as what is computed in it:
    at 192x192 a feed-forward of 96 channels takes 0.15 s in strips and 0.44 s at once. A GPU, and a gradient, get all
    at once.
    """
    batch, _, height, width = x_BCHW.shape
    rows = max(STRIP_ROWS, STRIP // (batch * widest * width))
    if rows >= height or torch.is_grad_enabled() or not x_BCHW.is_cpu:
        return function(x_BCHW)
    rows = math.ceil(height / math.ceil(height / rows))  # strips of one height, but for the last
    whole_BCHW = None
    for top in range(0, height, rows):
        # One row more on either side, so that only the edges of the image are padded.
        above = min(top, 1)
        strip_BCHW = function(x_BCHW[:, :, top - above : top + rows + 1])[:, :, above : above + rows]
        if whole_BCHW is None:
            whole_BCHW = strip_BCHW.new_empty(batch, strip_BCHW.shape[1], height, width)
        whole_BCHW[:, :, top : top + rows] = strip_BCHW
    assert whole_BCHW is not None
    return whole_BCHW


class RestormerBlock(nn.Module):
    """Pre-norm residual block: channel attention, then gated feed-forward."""

    def __init__(self, channels: int, heads: int, expansion: float) -> None:
        super().__init__()
        self.attention_norm = ChannelLayerNorm(channels)
        self.attention = TransposedAttention(channels, heads)
        self.feed_forward_norm = ChannelLayerNorm(channels)
        self.feed_forward = GatedFeedForward(channels, expansion)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        mixed_BCHW: Tensor = x_BCHW + self.attention(self.attention_norm(x_BCHW))
        out_BCHW: Tensor = mixed_BCHW + self.feed_forward(self.feed_forward_norm(mixed_BCHW))
        return out_BCHW


def restormer_level(channels: int, heads: int, blocks: int, expansion: float) -> nn.Sequential:
    """Stack the blocks of one level."""
    return nn.Sequential(*(RestormerBlock(channels, heads, expansion) for _ in range(blocks)))


def downsample(channels: int) -> nn.Sequential:
    """Halve the size and double the channels: (B, C, H, W) -> (B, 2C, H/2, W/2)."""
    return nn.Sequential(nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2))


def upsample(channels: int) -> nn.Sequential:
    """Double the size and halve the channels: (B, C, H, W) -> (B, C/2, 2H, 2W)."""
    return nn.Sequential(nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False), nn.PixelShuffle(2))
