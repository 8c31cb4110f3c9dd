"""UP-Fusion: the whole network (arXiv 2511.12432, section "Method").

Shape suffixes: B batch, C channels of the first level, T text dimension, H height, W width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upfusion.gam import GeometricAffineModulation
from upfusion.presets import NetworkConfig
from upfusion.restormer import downsample, restormer_level, upsample
from upfusion.scpm import SemanticChannelPruning
from upfusion.tcpm import PlainJoin, TextGuidedChannelPerturbation


class UPFusion(nn.Module):
    """Fuse the luma of two registered sources under the guidance of a text."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.channels * 2**level for level in range(4)]
        self.embed_a = PatchEmbedding(config)
        self.embed_b = PatchEmbedding(config)
        self.scpm = _scpm(config) if config.scpm else nn.Identity()
        self.expand = nn.Conv2d(config.channels, 2 * config.channels, 1)
        if config.gam:
            self.gam_a = GeometricAffineModulation(config.channels)
            self.gam_b = GeometricAffineModulation(config.channels)
        # The downsamplers are shared by both encoders.
        self.down = nn.ModuleList(downsample(width) for width in widths[:3])
        self.encoder_a = _encoder(config, widths)
        self.encoder_b = _encoder(config, widths)
        self.tcpm = nn.ModuleList(
            _tcpm(config, width, heads) if config.tcpm else PlainJoin(width)
            for width, heads in zip(widths, config.heads, strict=True)
        )
        self.decoder = Decoder(config, widths)
        if config.residual:
            with torch.no_grad():
                # Starting near the maximum of both sources keeps the features alive; from the default start a
                # network first unlearns its random output, and its features with it.
                self.decoder.output.weight.mul_(0.1)

    def forward(self, a_B1HW: Tensor, b_B1HW: Tensor, text_BT: Tensor) -> Tensor:
        """Fuse luma in [0, 1] of source A and source B, any size, into unclamped luma (B, 1, H, W)."""
        if a_B1HW.shape != b_B1HW.shape or a_B1HW.ndim != 4 or a_B1HW.shape[1] != 1:
            raise ValueError(f"expected two lumas (B, 1, H, W), got {tuple(a_B1HW.shape)} and {tuple(b_B1HW.shape)}")
        if self.config.takes_text and text_BT.shape != (len(a_B1HW), self.config.text_dim):
            expected = (len(a_B1HW), self.config.text_dim)
            raise ValueError(f"expected text embeddings (B, T) = {expected}, got {tuple(text_BT.shape)}")
        height, width = a_B1HW.shape[-2:]
        multiple = self.config.size_multiple
        fused_B1HW = self.fuse_padded(pad_to_multiple(a_B1HW, multiple), pad_to_multiple(b_B1HW, multiple), text_BT)
        fused_B1HW = fused_B1HW[..., :height, :width]
        return fused_B1HW + torch.maximum(a_B1HW, b_B1HW) if self.config.residual else fused_B1HW

    def fuse_padded(self, a_B1HW: Tensor, b_B1HW: Tensor, text_BT: Tensor) -> Tensor:
        """Fuse lumas whose sides are multiples of `config.size_multiple`."""
        embedded_a, embedded_b = self.embed_a(a_B1HW), self.embed_b(b_B1HW)
        shared_BCHW = self.scpm((embedded_a + embedded_b) / 2)
        shared_a, shared_b = self.expand(shared_BCHW).chunk(2, dim=1)
        if self.config.gam:
            shared_a, shared_b = self.gam_a(shared_a, embedded_a), self.gam_b(shared_b, embedded_b)
        levels_a, levels_b = self.encode(self.encoder_a, shared_a), self.encode(self.encoder_b, shared_b)
        joined = [tcpm(a, b, text_BT) for tcpm, a, b in zip(self.tcpm, levels_a, levels_b, strict=True)]
        fused_B1HW: Tensor = self.decoder(joined)
        return fused_B1HW

    def encode(self, encoder: nn.ModuleList, x_BCHW: Tensor) -> list[Tensor]:
        """Return the features of all four levels of one source, finest first."""
        levels = [encoder[0](x_BCHW)]
        for down, level in zip(self.down, list(encoder)[1:], strict=True):
            levels.append(level(down(levels[-1])))
        return levels


class PatchEmbedding(nn.Module):
    """One 3x3 convolution from luma to C channels, behind a pixel-unshuffle where the stem has a stride."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(config.stem_stride)
        self.project = nn.Conv2d(config.stem_stride**2, config.channels, 3, padding=1, bias=False)

    def forward(self, x_B1HW: Tensor) -> Tensor:
        embedded: Tensor = self.project(self.unshuffle(x_B1HW))
        return embedded


class Decoder(nn.Module):
    """Climb from the latent to luma, joining the skip of each level on the way."""

    def __init__(self, config: NetworkConfig, widths: list[int]) -> None:
        super().__init__()
        first = widths[0]
        self.up = nn.ModuleList(upsample(width) for width in widths[1:])
        # The finest level keeps both halves (2C channels), as Restormer does; the others are reduced to one.
        self.reduce = nn.ModuleList(nn.Conv2d(2 * width, width, 1, bias=False) for width in widths[1:3])
        self.levels = nn.ModuleList(
            restormer_level(width, heads, blocks, config.expansion)
            for width, heads, blocks in zip(
                [2 * first, widths[1], widths[2]], config.heads[:3], config.blocks[:3], strict=True
            )
        )
        self.refinement = restormer_level(2 * first, config.heads[0], config.refinement_blocks, config.expansion)
        self.output = nn.Conv2d(2 * first, config.stem_stride**2, 3, padding=1, bias=False)
        self.shuffle = nn.PixelShuffle(config.stem_stride)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Decode the joined features of four levels, finest first, into (B, 1, H, W)."""
        x = levels[3]
        for level in (2, 1, 0):
            x = torch.cat([self.up[level](x), levels[level]], dim=1)
            if level > 0:
                x = self.reduce[level - 1](x)
            x = self.levels[level](x)
        luma: Tensor = self.shuffle(self.output(self.refinement(x)))
        return luma


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
        text_guided=config.text,
    )


def _encoder(config: NetworkConfig, widths: list[int]) -> nn.ModuleList:
    return nn.ModuleList(
        restormer_level(width, heads, blocks, config.expansion)
        for width, heads, blocks in zip(widths, config.heads, config.blocks, strict=True)
    )
