"""Network configurations by name.

`paper` is the network of the paper. Every departure from it is a field that is off there.
"""

from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Everything that decides the shape of the network.

    Raises ValueError, naming the field and the rule, when a value cannot work.
    """

    channels: int = 48
    """Width C of the first level; the levels have C, 2C, 4C and 8C channels where `widths` does not say otherwise."""
    widths: tuple[int, ...] | None = None
    """Channels of each level, finest first; None doubles them from level to level, as in the paper."""
    blocks: tuple[int, ...] = (4, 6, 6, 8)
    """Blocks of each level, whose number is that of the levels."""
    heads: tuple[int, ...] = (1, 2, 4, 8)
    refinement_blocks: int = 4
    expansion: float = 2.66
    """Hidden width of the gated feed-forward, in units of its input."""
    text_encoder: str | None = "ViT-B-32-quickgelu/openai"
    """What makes the text embeddings: `MODEL/TAG` of open_clip, or the name of a sentence-transformers model;
    None where nobody knows."""
    text_dim: int = 512
    """Dimension T of the text embedding."""
    squeeze_divisor: int = 8
    """Squeeze and excitation has this many times fewer hidden units than channels."""
    scpm_retention: float = 0.7
    tcpm_retention: float = 0.5
    attention_retention: float = 0.9
    prior: str | None = "convnext_base.fb_in1k"
    """timm's name of the pretrained ConvNeXt that the semantic prior starts from; None starts at random."""
    prior_size: int = 224
    """Side of the square view that the semantic prior sees, in pixels."""
    prior_depths: tuple[int, ...] = (3, 3, 27, 3)
    prior_widths: tuple[int, ...] = (128, 256, 512, 1024)
    prior_trained: bool = False
    """The semantic prior is trained with the rest instead of being frozen."""
    scpm: bool = True
    """False: the patch embeddings' mean is passed on unpruned (ablation)."""
    gam: bool = True
    """False: both encoders start from the shared features alone (ablation)."""
    tcpm: bool = True
    """False: a 1x1 convolution joins the features of both sources (ablation)."""
    text: bool = True
    """False: TCPM leaves the channels in the order of its expansion (ablation)."""
    stem_stride: int = 1
    """Pixel-unshuffle before the patch embedding and pixel-shuffle after the output convolution."""
    text_hidden: int | None = None
    """Hidden width of the text mapping; None is T, as in the paper."""
    residual: bool = False
    """Add the element-wise maximum of both sources to the output."""
    skip_unperturbed: bool = False
    """Add TCPM's unperturbed joint features to its output."""
    skip_perturbed: bool = False
    """Add TCPM's perturbed joint features to its output, by which text and balance reach the decoder directly."""
    dense: bool = False
    """Residual blocks of two dense 3x3 convolutions instead of Restormer blocks, and bilinear upsampling with sums in
    the decoder: at a quarter of the resolution a CPU runs them several times faster than depthwise convolutions."""
    gains: bool = False
    """Predict how much of each source's detail enters, per band and pixel, instead of painting the result."""
    gain_bands: int = 3
    """Bands of detail that the gains choose from, each of half the resolution of the one before."""
    stem_energy: bool = False
    """The patch embeddings also see the local energy of each band of detail."""
    embedding_skip: bool = False
    """Add the patch embedding of each source to its modulated shared features."""
    text_gate: bool = False
    """Multiply TCPM's re-ordered channels by gains computed from the text and the balance."""

    def __post_init__(self) -> None:
        """Check what no type says."""
        for name in ("prior_depths", "prior_widths"):
            if len(getattr(self, name)) != 4:
                raise ValueError(f"{name}: expected four numbers, one per stage, got {getattr(self, name)}")
        widths = self.level_widths
        for name in ("heads", "widths"):
            if len(getattr(self, name) or widths) != len(self.blocks):
                raise ValueError(
                    f"{name}: expected {len(self.blocks)} numbers, one per level, got {getattr(self, name)}"
                )
        if widths[0] != self.channels:
            raise ValueError(f"widths: expected the first to be channels = {self.channels}, got {self.widths}")
        for width, heads in zip(widths, self.heads, strict=True):
            if width % heads:
                raise ValueError(f"heads: expected divisors of the widths {list(widths)}, got {self.heads}")
        if len(self.blocks) < 2:
            raise ValueError(f"blocks: expected at least two levels, got {self.blocks}")
        if self.channels % 2:
            raise ValueError(f"channels: expected an even number, got {self.channels}")
        for name in ("scpm_retention", "tcpm_retention", "attention_retention"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a share in (0, 1], got {getattr(self, name)}")
        if self.stem_energy and not self.gains:
            raise ValueError("stem_energy: expected gains = True with it")
        if self.gains and self.size_multiple % 2**self.gain_bands:
            raise ValueError(f"gain_bands: expected 2**bands to divide {self.size_multiple}, got {self.gain_bands}")
        for name in ("channels", "text_dim", "squeeze_divisor", "prior_size", "stem_stride", "gain_bands"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")

    @property
    def level_widths(self) -> tuple[int, ...]:
        """Channels of each level, finest first."""
        return self.widths or tuple(self.channels * 2**level for level in range(len(self.blocks)))

    @property
    def size_multiple(self) -> int:
        """Sides of the network's input are padded to a multiple of this many pixels."""
        return int(2 ** (len(self.blocks) - 1)) * self.stem_stride

    @property
    def takes_text(self) -> bool:
        """Whether a text has any influence on the result."""
        return self.tcpm and self.text

    @property
    def takes_balance(self) -> bool:
        """Whether a number says how much of A and of B the result keeps."""
        return self.takes_text and self.text_gate

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "NetworkConfig":
        """Build a configuration from its JSON form; raises ValueError for a field that this version lacks."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"network configuration has fields this version does not know: {', '.join(unknown)}")
        arguments: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**arguments)


PARTS = ("scpm", "gam", "tcpm", "text")
"""Fields that switch off a part of the network when they are False, for ablations."""

# Small enough for a laptop, and made without a model hub: its small ConvNeXt is trained with the rest. Dense
# convolutions at a quarter to a sixteenth of the resolution, where most of its channels are: gains are smooth.
_TINY = NetworkConfig(
    channels=16,
    widths=(16, 48, 96),
    blocks=(1, 1, 1),
    heads=(1, 2, 4),
    refinement_blocks=0,
    expansion=1.0,
    squeeze_divisor=2,
    text_encoder="all-MiniLM-L6-v2",
    text_dim=384,
    text_hidden=32,
    prior=None,
    # Trained on crops of about 100 pixels, it has nothing to see in more; at 224 it took half of the training.
    prior_size=64,
    prior_depths=(1, 1, 2, 1),
    prior_widths=(8, 16, 32, 64),
    prior_trained=True,
    stem_stride=4,
    stem_energy=True,
    embedding_skip=True,
    skip_unperturbed=True,
    skip_perturbed=True,
    dense=True,
    gains=True,
    text_gate=True,
)

PRESETS: dict[str, NetworkConfig] = {
    "paper": NetworkConfig(),
    # A quarter of the pixels in every level and half of the blocks: 7 times cheaper than `paper`.
    "base": NetworkConfig(
        blocks=(2, 3, 3, 4),
        refinement_blocks=2,
        prior="convnext_tiny.fb_in1k",
        prior_depths=(3, 3, 9, 3),
        prior_widths=(96, 192, 384, 768),
        stem_stride=2,
        residual=True,
        skip_unperturbed=True,
    ),
    "tiny": _TINY,
    # For recordings on a CPU, taught by `tiny`: gains from an eighth of the resolution, a third of the operations.
    "nano": replace(_TINY, channels=24, widths=(24, 48, 96), stem_stride=8),
}
