"""UP-Fusion: the whole network (arXiv 2511.12432, section "Method").

Shape suffixes: B batch, C channels of the first level, T text dimension, H height, W width.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upfusion.dense import DenseDecoder, dense_level, strided_downsample
from upfusion.gain_output import Pyramid, apply_gains, count_maps, local_energy, smooth_where_flat, split
from upfusion.gam import GeometricAffineModulation
from upfusion.presets import NetworkConfig
from upfusion.restormer import downsample, restormer_level, upsample
from upfusion.scpm import SemanticChannelPruning
from upfusion.tcpm import PlainJoin, TextGuidedChannelPerturbation
from upfusion.wishes import WISHES, TextReader, Wish, join_wishes


class UPFusion(nn.Module):
    """Fuse the luma of two registered sources under the guidance of a text and a balance."""

    reader: TextReader

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.level_widths
        self.embed_a = PatchEmbedding(config)
        self.embed_b = PatchEmbedding(config)
        self.scpm = _scpm(config) if config.scpm else nn.Identity()
        self.expand = nn.Conv2d(config.channels, 2 * config.channels, 1)
        if config.gam:
            self.gam_a = GeometricAffineModulation(config.channels)
            self.gam_b = GeometricAffineModulation(config.channels)
        # The downsamplers are shared by both encoders.
        self.down = nn.ModuleList(
            strided_downsample(width, deeper) if config.dense else downsample(width)
            for width, deeper in pairwise(widths)
        )
        self.encoder_a = _encoder(config)
        self.encoder_b = _encoder(config)
        self.tcpm = nn.ModuleList(
            _tcpm(config, width, heads) if config.tcpm else PlainJoin(width)
            for width, heads in zip(widths, config.heads, strict=True)
        )
        self.decoder = _decoder(config)
        if config.takes_balance:
            self.reader = TextReader(config.text_dim).requires_grad_(False)

    def forward(
        self,
        a_B1HW: Tensor,
        b_B1HW: Tensor,
        text_BT: Tensor,
        balance_B: Tensor | None = None,
        wish_BW: Tensor | None = None,
    ) -> Tensor:
        """Fuse luma in [0, 1] of source A and source B, any size, into unclamped luma (B, 1, H, W).

        `balance_B` in [-1, 1] says how much of A (-1) and of B (1) the result keeps; None is 0, both. `wish_BW`, in
        training, takes the place of what is read from text and balance. A network without a gate disregards both.
        """
        if a_B1HW.shape != b_B1HW.shape or a_B1HW.ndim != 4 or a_B1HW.shape[1] != 1:
            raise ValueError(f"expected two lumas (B, 1, H, W), got {tuple(a_B1HW.shape)} and {tuple(b_B1HW.shape)}")
        if self.config.takes_text and text_BT.shape != (len(a_B1HW), self.config.text_dim):
            expected = (len(a_B1HW), self.config.text_dim)
            raise ValueError(f"expected text embeddings (B, T) = {expected}, got {tuple(text_BT.shape)}")
        if wish_BW is None:
            wish_BW = self.read_wishes(text_BT, balance_B)
        height, width = a_B1HW.shape[-2:]
        multiple = self.config.size_multiple
        padded_a, padded_b = pad_to_multiple(a_B1HW, multiple), pad_to_multiple(b_B1HW, multiple)
        return self.fuse_padded(padded_a, padded_b, text_BT, wish_BW)[..., :height, :width]

    def read_wishes(self, text_BT: Tensor, balance_B: Tensor | None = None) -> Tensor:
        """Return what texts (B, T) and balances (B,) ask for, (B, W); zero where the network has no gate."""
        if not self.config.takes_balance:
            return text_BT.new_zeros(len(text_BT), WISHES)
        read_BW = self.reader(text_BT)
        return join_wishes(read_BW, read_BW.new_zeros(len(read_BW)) if balance_B is None else balance_B)

    def fuse_padded(self, a_B1HW: Tensor, b_B1HW: Tensor, text_BT: Tensor, wish_BW: Tensor) -> Tensor:
        """Fuse lumas whose sides are multiples of `config.size_multiple`."""
        pyramid_a, pyramid_b = (split(x, self.config.gain_bands if self.config.gains else 0) for x in (a_B1HW, b_B1HW))
        embedded_a, embedded_b = self.embed_a(a_B1HW, pyramid_a), self.embed_b(b_B1HW, pyramid_b)
        shared_a, shared_b = self.share(embedded_a, embedded_b)
        levels_a, levels_b = self.encode(self.encoder_a, shared_a), self.encode(self.encoder_b, shared_b)
        joined = [tcpm(a, b, text_BT, wish_BW) for tcpm, a, b in zip(self.tcpm, levels_a, levels_b, strict=True)]
        maps_BMHW = self.decoder.output(self.decoder(joined))
        if self.config.gains:
            quiet_B = wish_BW[:, Wish._fields.index("quiet")]
            # Costs are counted on tensors without values (upfusion/cost.py), and without what only some wish for.
            # An exported graph cannot look at values, and smooths by what may be nothing.
            if torch.compiler.is_exporting() or (not quiet_B.is_meta and quiet_B.any()):
                pyramid_a, pyramid_b = smooth_where_flat(pyramid_a, pyramid_b, quiet_B)
            return apply_gains(maps_BMHW.float(), pyramid_a, pyramid_b)
        painted_B1HW = F.pixel_shuffle(maps_BMHW, self.config.stem_stride)
        return painted_B1HW + torch.maximum(a_B1HW, b_B1HW) if self.config.residual else painted_B1HW

    def share(self, embedded_a: Tensor, embedded_b: Tensor) -> tuple[Tensor, Tensor]:
        """Prune what the sources have in common, and modulate it by each source: what both encoders start from."""
        shared_BCHW = self.scpm((embedded_a + embedded_b) / 2)
        shared_a, shared_b = self.expand(shared_BCHW).chunk(2, dim=1)
        if self.config.gam:
            shared_a, shared_b = self.gam_a(shared_a, embedded_a), self.gam_b(shared_b, embedded_b)
        if self.config.embedding_skip:
            shared_a, shared_b = shared_a + embedded_a, shared_b + embedded_b
        return shared_a, shared_b

    def encode(self, encoder: nn.ModuleList, x_BCHW: Tensor) -> list[Tensor]:
        """Return the features of all levels of one source, finest first."""
        levels = [encoder[0](x_BCHW)]
        for down, level in zip(self.down, list(encoder)[1:], strict=True):
            levels.append(level(down(levels[-1])))
        return levels


class PatchEmbedding(nn.Module):
    """One 3x3 convolution from luma to C channels, behind a pixel-unshuffle where the stem has a stride."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.sees_energy = config.stem_energy
        # What comes after keeps the layout, in which a CPU runs small dense convolutions up to 1.6 times as fast.
        self.channels_last = config.dense
        self.unshuffle = nn.PixelUnshuffle(config.stem_stride)
        seen = config.stem_stride**2 + config.gain_bands * config.stem_energy
        self.project = nn.Conv2d(seen, config.channels, 3, padding=1, bias=False)

    def forward(self, x_B1HW: Tensor, pyramid: Pyramid) -> Tensor:
        """Embed luma (B, 1, H, W), with its pyramid, into (B, C, H / stride, W / stride)."""
        seen_BCHW = self.unshuffle(x_B1HW)
        if self.sees_energy:
            seen_BCHW = torch.cat([seen_BCHW, local_energy(pyramid, seen_BCHW.shape[-2:])], dim=1)
        if self.channels_last and x_B1HW.is_cpu:
            seen_BCHW = seen_BCHW.contiguous(memory_format=torch.channels_last)
        embedded: Tensor = self.project(seen_BCHW)
        return embedded


class Decoder(nn.Module):
    """Climb from the latent to the finest level, joining the skip of each level on the way."""

    output: nn.Conv2d
    """From the features to the maps of the result; the network makes it."""

    def __init__(
        self, widths: Sequence[int], heads: Sequence[int], blocks: Sequence[int], refinement: int, expansion: float
    ) -> None:
        super().__init__()
        self.up = nn.ModuleList(upsample(width) for width in widths[1:])
        # The finest level keeps both halves (2C channels), as Restormer does; the others are reduced to one.
        self.reduce = nn.ModuleList(nn.Conv2d(2 * width, width, 1, bias=False) for width in widths[1:-1])
        joined = [2 * widths[0], *widths[1:-1]]
        self.levels = nn.ModuleList(
            restormer_level(*shape, expansion) for shape in zip(joined, heads[:-1], blocks[:-1], strict=True)
        )
        self.refinement = restormer_level(joined[0], heads[0], refinement, expansion)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Decode the joined features of all levels, finest first, into features of the finest (B, 2C, H, W)."""
        x = levels[-1]
        for level in range(len(self.levels) - 1, -1, -1):
            x = torch.cat([self.up[level](x), levels[level]], dim=1)
            if level > 0:
                x = self.reduce[level - 1](x)
            x = self.levels[level](x)
        features: Tensor = self.refinement(x)
        return features


def pad_to_multiple(x_BCHW: Tensor, multiple: int) -> Tensor:
    """Pad the right and the bottom to a multiple by reflection (by repetition where the image is too small)."""
    height, width = x_BCHW.shape[-2:]
    down, right = -height % multiple, -width % multiple
    if not (down or right):
        return x_BCHW
    mode = "reflect" if down < height and right < width else "replicate"
    return F.pad(x_BCHW, (0, right, 0, down), mode=mode)


def _scpm(config: NetworkConfig) -> SemanticChannelPruning:
    scpm = SemanticChannelPruning(
        config.channels,
        config.squeeze_divisor,
        config.scpm_retention,
        config.prior_size,
        config.prior_depths,
        config.prior_widths,
    )
    scpm.prior.requires_grad_(config.prior_trained)
    return scpm


def _tcpm(config: NetworkConfig, width: int, heads: int) -> TextGuidedChannelPerturbation:
    return TextGuidedChannelPerturbation(
        width,
        heads,
        squeeze_divisor=config.squeeze_divisor,
        text_dim=config.text_dim,
        text_hidden=config.text_hidden or config.text_dim,
        expansion=config.expansion,
        retention=config.tcpm_retention,
        attention_retention=config.attention_retention,
        skip_unperturbed=config.skip_unperturbed,
        skip_perturbed=config.skip_perturbed,
        text_guided=config.text,
        text_gate=config.text_gate,
    )


def _encoder(config: NetworkConfig) -> nn.ModuleList:
    levels = zip(config.level_widths, config.heads, config.blocks, strict=True)
    return nn.ModuleList(
        dense_level(width, blocks) if config.dense else restormer_level(width, heads, blocks, config.expansion)
        for width, heads, blocks in levels
    )


def _decoder(config: NetworkConfig) -> "DenseDecoder | Decoder":
    widths = config.level_widths
    if config.dense:
        decoder: DenseDecoder | Decoder = DenseDecoder(widths, config.blocks, config.refinement_blocks)
        channels = widths[0]
    else:
        decoder = Decoder(widths, config.heads, config.blocks, config.refinement_blocks, config.expansion)
        channels = 2 * widths[0]
    outputs = count_maps(config.gain_bands) if config.gains else config.stem_stride**2
    decoder.output = nn.Conv2d(channels, outputs, 3, padding=1, bias=config.gains)
    if config.gains or config.residual:
        with torch.no_grad():
            # Starting near equal gains, or near the maximum of both sources, keeps the features alive; from the
            # default start a network first unlearns its random output, and its features with it.
            decoder.output.weight.mul_(0.1)
            if decoder.output.bias is not None:
                nn.init.zeros_(decoder.output.bias)
    return decoder
