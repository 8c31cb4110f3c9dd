"""The network of UP-Fusion written straight from the paper, one line a sentence: what `upfusion` is timed against.

It follows the published style of Restormer (arXiv 2111.09881), on which UP-Fusion (arXiv 2511.12432) builds, and
computes with the weights of a `UPFusion`, so that both give the same image.

Shape suffixes: B batch, C channels, H height, W width, P pixels (H * W), N heads, T text dimension.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upfusion.network import UPFusion


class LiteralUPFusion(nn.Module):
    """The forward pass of the paper, with the options of our presets, over the weights of a `UPFusion`."""

    def __init__(self, weights: UPFusion) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, a_B1HW: Tensor, b_B1HW: Tensor, text_BT: Tensor) -> Tensor:
        """Fuse lumas in [0, 1]."""
        net, (height, width) = self.weights, a_B1HW.shape[-2:]
        multiple = net.config.size_multiple
        padding = (0, -width % multiple, 0, -height % multiple)
        a, b = F.pad(a_B1HW, padding, mode="reflect"), F.pad(b_B1HW, padding, mode="reflect")
        embedded_a = conv(net.embed_a.project, net.embed_a.unshuffle(a))
        embedded_b = conv(net.embed_b.project, net.embed_b.unshuffle(b))
        shared = conv(net.expand, prune(net.scpm, (embedded_a + embedded_b) / 2))
        shared_a, shared_b = shared.chunk(2, dim=1)
        levels_a = encode(net.down, net.encoder_a, modulate(net.gam_a, shared_a, embedded_a))
        levels_b = encode(net.down, net.encoder_b, modulate(net.gam_b, shared_b, embedded_b))
        skips = [perturb_and_join(net.tcpm[level], levels_a[level], levels_b[level], text_BT) for level in range(4)]
        fused = decode(net.decoder, skips)[..., :height, :width]
        return fused + torch.maximum(a_B1HW, b_B1HW) if net.config.residual else fused


def prune(scpm: Any, x_BCHW: Tensor) -> Tensor:
    """SCPM: weigh the channels, keep the top ones in descending order, expand them back."""
    content_BC = torch.sigmoid(scpm.excite(F.relu(scpm.squeeze(F.adaptive_avg_pool2d(x_BCHW, 1).flatten(1)))))
    size = (scpm.prior_size, scpm.prior_size)
    view = F.interpolate(conv(scpm.to_prior, x_BCHW), size=size, mode="bilinear", align_corners=False)
    seen = F.adaptive_avg_pool2d(scpm.prior.forward_features(view), 1).flatten(1)
    weight_BC = content_BC + scpm.alpha * torch.sigmoid(scpm.from_prior(seen))
    return conv(scpm.expand, gather(x_BCHW, weight_BC.topk(scpm.expand.in_channels, dim=1).indices))


def modulate(gam: Any, shared_BCHW: Tensor, source_BCHW: Tensor) -> Tensor:
    """GAM: scale and shift by what is special to one source."""
    pooled = F.adaptive_avg_pool2d(source_BCHW, 1)
    gamma, beta = conv(gam.to_affine, F.relu(conv(gam.squeeze, pooled))).chunk(2, dim=1)
    return shared_BCHW * (1 + gamma) + beta


def encode(down: Any, encoder: Any, x_BCHW: Tensor) -> list[Tensor]:
    """Four levels of Restormer blocks, finest first."""
    levels = []
    for number, level in enumerate(encoder):
        if number > 0:
            x_BCHW = F.pixel_unshuffle(conv(down[number - 1][0], x_BCHW), 2)
        for block in level:
            x_BCHW = transform(block, x_BCHW)
        levels.append(x_BCHW)
    return levels


def transform(block: Any, x_BCHW: Tensor) -> Tensor:
    """One Restormer block."""
    x_BCHW = x_BCHW + attend(block.attention, normalise(block.attention_norm, x_BCHW))
    return x_BCHW + feed_forward(block.feed_forward, normalise(block.feed_forward_norm, x_BCHW))


def normalise(norm: Any, x_BCHW: Tensor) -> Tensor:
    """Layer norm over the channels of each pixel."""
    batch, channels, height, width = x_BCHW.shape
    x_BPC = x_BCHW.flatten(2).transpose(1, 2)
    mean = x_BPC.mean(-1, keepdim=True)
    variance = x_BPC.var(-1, keepdim=True, unbiased=False)
    x_BPC = (x_BPC - mean) / torch.sqrt(variance + 1e-5) * norm.weight + norm.bias
    return x_BPC.transpose(1, 2).reshape(batch, channels, height, width)


def attend(attention: Any, x_BCHW: Tensor) -> Tensor:
    """Attention between channels."""
    heads = attention.temperature.shape[0]
    q, k, v = conv(attention.qkv_depthwise, conv(attention.qkv, x_BCHW)).chunk(3, dim=1)
    q, k, v = split(q, heads), split(k, heads), split(v, heads)
    scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * attention.temperature
    return conv(attention.project, (scores.softmax(dim=-1) @ v).reshape(x_BCHW.shape))


def feed_forward(layers: Any, x_BCHW: Tensor) -> Tensor:
    """Gated feed-forward."""
    gate, value = conv(layers.depthwise, conv(layers.project_in, x_BCHW)).chunk(2, dim=1)
    return conv(layers.project_out, F.gelu(gate) * value)


def perturb_and_join(tcpm: Any, a_BCHW: Tensor, b_BCHW: Tensor, text_BT: Tensor) -> Tensor:
    """TCPM: prune the joint channels, re-order them by the text, ask the unperturbed ones."""
    joint = torch.cat([a_BCHW, b_BCHW], dim=1)
    pooled = F.adaptive_avg_pool2d(joint, 1).flatten(1)
    content = torch.sigmoid(tcpm.excite(F.relu(tcpm.squeeze(pooled))))
    kept = gather(joint, content.topk(tcpm.expand.in_channels, dim=1).indices)
    text_weight = tcpm.text_weight(F.relu(tcpm.text_hidden(text_BT)))
    perturbed = gather(conv(tcpm.expand, kept), text_weight.argsort(dim=1, descending=True))
    plain = conv(tcpm.join, joint)
    query = normalise(tcpm.query_norm, conv(tcpm.join, perturbed))
    attended = attend_sparsely(tcpm.attention, query, normalise(tcpm.key_value_norm, plain))
    out = attended + feed_forward(tcpm.feed_forward, normalise(tcpm.feed_forward_norm, attended))
    return out + plain if tcpm.skip_unperturbed else out


def attend_sparsely(attention: Any, query_BCHW: Tensor, key_value_BCHW: Tensor) -> Tensor:
    """Cross-attention between channels over the strongest scores of each row."""
    heads = attention.temperature.shape[0]
    q = split(conv(attention.query_depthwise, conv(attention.query, query_BCHW)), heads)
    k, v = conv(attention.key_value_depthwise, conv(attention.key_value, key_value_BCHW)).chunk(2, dim=1)
    k, v = split(k, heads), split(v, heads)
    scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * attention.temperature
    mask = torch.zeros_like(scores).scatter_(-1, scores.topk(attention.kept, dim=-1).indices, 1.0)
    scores = torch.where(mask > 0, scores, torch.full_like(scores, float("-inf")))
    mixed = (scores.softmax(dim=-1) @ v) * attention.scale
    return conv(attention.project, mixed.reshape(query_BCHW.shape))


def decode(decoder: Any, skips: list[Tensor]) -> Tensor:
    """Climb to full size, joining the skips on the way."""
    x_BCHW = skips[3]
    for level in (2, 1, 0):
        x_BCHW = torch.cat([F.pixel_shuffle(conv(decoder.up[level][0], x_BCHW), 2), skips[level]], dim=1)
        if level > 0:
            x_BCHW = conv(decoder.reduce[level - 1], x_BCHW)
        for block in decoder.levels[level]:
            x_BCHW = transform(block, x_BCHW)
    for block in decoder.refinement:
        x_BCHW = transform(block, x_BCHW)
    return decoder.shuffle(conv(decoder.output, x_BCHW))


def conv(layer: Any, x_BCHW: Tensor) -> Tensor:
    """Convolve as torch does by itself."""
    return F.conv2d(x_BCHW, layer.weight, layer.bias, padding=layer.padding, groups=layer.groups)


def gather(x_BCHW: Tensor, index_BC: Tensor) -> Tensor:
    """Pick channels."""
    return torch.gather(x_BCHW, 1, index_BC[:, :, None, None].expand(-1, -1, *x_BCHW.shape[-2:]))


def split(x_BCHW: Tensor, heads: int) -> Tensor:
    """Split channels into heads and flatten the pixels: (B, N, C/N, P)."""
    batch, channels, height, width = x_BCHW.shape
    return x_BCHW.reshape(batch, heads, channels // heads, height * width)
