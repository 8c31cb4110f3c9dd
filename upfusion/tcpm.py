"""TCPM: text-guided channel perturbation (UP-Fusion, arXiv 2511.12432, section "TCPM").

Shape suffixes: B batch, C channels of one source, D both sources' channels (2C), T text dimension, H height,
W width, N heads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upfusion.channel_map import map_channels
from upfusion.restormer import (
    ChannelLayerNorm,
    GatedFeedForward,
    attend_and_project,
    channel_scores,
    in_strips,
    split_heads,
)
from upfusion.selection import keep_top_channels, sort_channels
from upfusion.wishes import WISHES


class TextGuidedChannelPerturbation(nn.Module):
    """Join the features of both sources, perturbed in channel order by a text.

    The half of the joint channels that squeeze and excitation values most is expanded to all and re-ordered
    by weights computed from the text; the result asks (Q) and the unperturbed features answer (K, V) in a
    channel cross-attention that keeps only the strongest share of each row.

    With `text_gate`, the re-ordered channels are multiplied by gains computed from the wishes of the text (wishes.py):
    an order can only jump, a gain moves continuously with what is wished for.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        squeeze_divisor: int,
        text_dim: int,
        text_hidden: int,
        expansion: float,
        retention: float,
        attention_retention: float,
        skip_unperturbed: bool,
        skip_perturbed: bool = False,
        text_guided: bool = True,
        text_gate: bool = False,
    ) -> None:
        super().__init__()
        both = 2 * channels
        self.retention = retention
        self.skip_unperturbed = skip_unperturbed
        self.skip_perturbed = skip_perturbed
        hidden = max(1, both // squeeze_divisor)
        self.squeeze = nn.Linear(both, hidden, bias=False)
        self.excite = nn.Linear(hidden, both, bias=False)
        self.expand = nn.Conv2d(max(1, int(retention * both)), both, 1)
        self.text_guided = text_guided
        self.text_gate = text_guided and text_gate
        if text_guided:
            self.text_hidden = nn.Linear(text_dim, text_hidden)
            self.text_weight = nn.Linear(text_hidden, both)
        if self.text_gate:
            self.wish_hidden = nn.Linear(WISHES, text_hidden)
            self.gate = nn.Linear(text_hidden, both)
        self.join = nn.Conv2d(both, channels, 1)
        self.query_norm = ChannelLayerNorm(channels)
        self.key_value_norm = ChannelLayerNorm(channels)
        self.attention = SparseCrossAttention(channels, heads, attention_retention)
        self.feed_forward_norm = ChannelLayerNorm(channels)
        self.feed_forward = GatedFeedForward(channels, expansion)

    def forward(self, a_BCHW: Tensor, b_BCHW: Tensor, text_BT: Tensor, wish_BW: Tensor) -> Tensor:
        """Join the features of source A and source B, both (B, C, H, W), into one (B, C, H, W)."""
        joint_BDHW = torch.cat([a_BCHW, b_BCHW], dim=1)
        content_BD = self.content_logit(joint_BDHW)
        plain_BCHW = self.join(joint_BDHW)
        perturbed_BCHW = map_channels(lambda x: self.join(self.perturb(x, content_BD, text_BT, wish_BW)), joint_BDHW)
        attended_BCHW = self.attention(self.query_norm(perturbed_BCHW), self.key_value_norm(plain_BCHW))
        out_BCHW: Tensor = attended_BCHW + self.feed_forward(self.feed_forward_norm(attended_BCHW))
        if self.skip_unperturbed:
            out_BCHW = out_BCHW + plain_BCHW
        return out_BCHW + perturbed_BCHW if self.skip_perturbed else out_BCHW

    def content_logit(self, joint_BDHW: Tensor) -> Tensor:
        """Weigh the joint channels by squeeze and excitation: (B, D), before the sigmoid."""
        logit_BD: Tensor = self.excite(F.relu(self.squeeze(joint_BDHW.mean(dim=(2, 3)))))
        return logit_BD

    def perturb(self, joint_BDHW: Tensor, content_BD: Tensor, text_BT: Tensor, wish_BW: Tensor) -> Tensor:
        """Prune the joint channels, expand them back, re-order by the text, gate by its wishes: (B, D, H, W)."""
        kept = keep_top_channels(joint_BDHW, content_BD.sigmoid(), self.retention, rank_BC=content_BD)
        expanded: Tensor = self.expand(kept)
        if not self.text_guided:
            return expanded
        ordered = sort_channels(expanded, self.text_weight(F.relu(self.text_hidden(text_BT))))
        if not self.text_gate:
            return ordered
        gate_BD = self.gate(F.relu(self.wish_hidden(wish_BW)))
        gated: Tensor = ordered * (1 + gate_BD)[:, :, None, None]
        return gated


class PlainJoin(nn.Module):
    """What takes TCPM's place in the ablation without it: a 1x1 convolution, blind to the text."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.join = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, a_BCHW: Tensor, b_BCHW: Tensor, _: Tensor, __: Tensor) -> Tensor:
        """Join the features of source A and source B, both (B, C, H, W), into one (B, C, H, W)."""
        joined: Tensor = self.join(torch.cat([a_BCHW, b_BCHW], dim=1))
        return joined


class SparseCrossAttention(nn.Module):
    """Cross-attention between channels that keeps the largest `retention` share of each row's scores."""

    def __init__(self, channels: int, heads: int, retention: float) -> None:
        super().__init__()
        self.kept = max(1, int(retention * (channels // heads)))
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.scale = nn.Parameter(torch.full((1,), 0.2))
        self.query = nn.Conv2d(channels, channels, 1, bias=False)
        self.query_depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.key_value = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.key_value_depthwise = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels, bias=False)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, query_BCHW: Tensor, key_value_BCHW: Tensor) -> Tensor:
        """Attend from the query features to the key and value features, all (B, C, H, W)."""
        heads = self.temperature.shape[0]
        channels = query_BCHW.shape[1]
        q = in_strips(nn.Sequential(self.query, self.query_depthwise), query_BCHW, channels)
        key_value = nn.Sequential(self.key_value, self.key_value_depthwise)
        k, v = in_strips(key_value, key_value_BCHW, 2 * channels).chunk(2, dim=1)
        scores_BNCC = channel_scores(split_heads(q, heads), split_heads(k, heads)) * self.temperature
        strongest = scores_BNCC.topk(self.kept, dim=-1).indices
        mask = torch.full_like(scores_BNCC, float("-inf")).scatter(-1, strongest, 0.0)
        return attend_and_project((scores_BNCC + mask).softmax(dim=-1) * self.scale, v, self.project)
