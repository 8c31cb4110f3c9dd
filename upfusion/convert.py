"""The authors' published checkpoint, translated: their names for our names, their configuration from their shapes.

Their file is a pickle with the state dict under `AWF`, or the bare state dict; names may begin with `module.`.
Parts called `*_gt` are an encoder of a ground truth that nothing uses. Their ConvNeXt is torchvision's.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from upfusion.checkpoint import list_mismatches
from upfusion.network import UPFusion
from upfusion.presets import NetworkConfig
from upfusion.priors import torchvision_to_timm

PARTS = {
    "patch_embed.proj": "embed_a.project",
    "ir_imb.proj": "embed_b.project",
    "channel_select.fc.0": "scpm.squeeze",
    "channel_select.fc.2": "scpm.excite",
    "channel_select.suo_conv": "scpm.to_prior",
    "channel_select.convnext_fc": "scpm.from_prior",
    "channel_select.convnext.0": "scpm.prior",
    "channel_select.alpha": "scpm.alpha",
    "channel_select.expand_conv": "scpm.expand",
    "expand_conv": "expand",
    "GEO_vi": "gam_a",
    "GEO_ir": "gam_b",
    "encoder_level1_vi": "encoder_a.0",
    "encoder_level2_vi": "encoder_a.1",
    "encoder_level3_vi": "encoder_a.2",
    "latent_vi": "encoder_a.3",
    "encoder_level1_ir": "encoder_b.0",
    "encoder_level2_ir": "encoder_b.1",
    "encoder_level3_ir": "encoder_b.2",
    "latent_ir": "encoder_b.3",
    "down1_2.body": "down.0",
    "down2_3.body": "down.1",
    "down3_4.body": "down.2",
    "encoder_shuffle_channel1": "tcpm.0",
    "encoder_shuffle_channel2": "tcpm.1",
    "encoder_shuffle_channel3": "tcpm.2",
    "latent_shuffle_channel": "tcpm.3",
    "up2_1.body": "decoder.up.0",
    "up3_2.body": "decoder.up.1",
    "up4_3.body": "decoder.up.2",
    "reduce_chan_level2": "decoder.reduce.0",
    "reduce_chan_level3": "decoder.reduce.1",
    "decoder_level1": "decoder.levels.0",
    "decoder_level2": "decoder.levels.1",
    "decoder_level3": "decoder.levels.2",
    "refinement": "decoder.refinement",
    "output": "decoder.output",
}
"""The authors' name of each part, and ours."""

INSIDE_GAM_AND_BLOCKS = {
    "affine_fc.0": "squeeze",
    "affine_fc.2": "to_affine",
    "norm1.body": "attention_norm",
    "norm2.body": "feed_forward_norm",
    "attn.qkv_dwconv": "attention.qkv_depthwise",
    "attn.project_out": "attention.project",
    "attn": "attention",
    "ffn.dwconv": "feed_forward.depthwise",
    "ffn": "feed_forward",
}
INSIDE_TCPM = {
    "conv1x1": "expand",
    "conv_out": "join",
    "se_fc.0": "squeeze",
    "se_fc.2": "excite",
    "text_fc.0": "text_hidden",
    "text_fc.2": "text_weight",
    "norm1.body": "query_norm",
    "norm2.body": "key_value_norm",
    "norm3.body": "feed_forward_norm",
    "select_attn.attn4": "attention.scale",
    "select_attn.q_dwconv": "attention.query_depthwise",
    "select_attn.q": "attention.query",
    "select_attn.kv_dwconv": "attention.key_value_depthwise",
    "select_attn.kv": "attention.key_value",
    "select_attn.project_out": "attention.project",
    "select_attn": "attention",
    "ffn.dwconv": "feed_forward.depthwise",
    "ffn": "feed_forward",
}
CLIP_DIM = 512
"""T of CLIP ViT-B/32, which the authors' weights were trained with."""


@dataclass(frozen=True)
class Conversion:
    """The authors' weights as ours."""

    config: NetworkConfig
    weights: dict[str, Tensor]
    unused: tuple[str, ...]
    """The authors' names of weights that nothing uses, left out."""


def convert(found: Mapping[str, Any]) -> Conversion:
    """Translate what lies in the authors' file.

    Raises ValueError, listing every weight that is missing, unknown or of a shape that fits no configuration.
    """
    state = _state_dict(found)
    unused = tuple(name for name in state if name.split(".")[0].endswith("_gt"))
    used = {name: tensor for name, tensor in state.items() if name not in unused}
    unknown = [f"{name} is not known" for name in used if _our_name(name) is None]
    weights = {
        # torchvision's layer scale is (C, 1, 1), timm's is (C,).
        ours: (tensor.flatten() if name.endswith("layer_scale") else tensor).float().contiguous()
        for name, tensor in used.items()
        if (ours := _our_name(name)) is not None
    }
    try:
        config = _read_config(weights)
        with torch.device("meta"):
            network = UPFusion(config)
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(_sentence([*unknown, f"the shapes give no configuration: {error}"])) from error
    if wrong := [*unknown, *list_mismatches(weights, network)]:
        raise ValueError(_sentence(wrong))
    return Conversion(config, weights, unused)


def _sentence(wrong: list[str]) -> str:
    return "these are not the weights of the authors' network:\n  " + "\n  ".join(wrong)


def _state_dict(found: Mapping[str, Any]) -> dict[str, Tensor]:
    state = found.get("AWF", found)
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"expected the weights under AWF or bare, got entries {', '.join(map(str, found))[:200]}")
    return {re.sub(r"^(module\.)+", "", str(name)): tensor for name, tensor in state.items()}


def _our_name(name: str) -> str | None:
    """Translate one name; None for one that the authors' network does not have."""
    part = next((part for part in PARTS if name == part or name.startswith(part + ".")), None)
    if part is None:
        return None
    rest = name.removeprefix(part)
    if PARTS[part] == "scpm.prior":
        inside = torchvision_to_timm(rest.removeprefix("."))
        return inside and f"scpm.prior.{inside}"
    return PARTS[part] + _replaced(rest, INSIDE_TCPM if "tcpm" in PARTS[part] else INSIDE_GAM_AND_BLOCKS)


def _replaced(name: str, words: dict[str, str]) -> str:
    """Replace whole dotted words; the longest match of a place wins."""
    longest_first = sorted(words, key=len, reverse=True)
    pattern = r"(?<=\.)(" + "|".join(map(re.escape, longest_first)) + r")(?=\.|$)"
    return re.sub(pattern, lambda match: words[match[0]], name)


def _read_config(weights: Mapping[str, Tensor]) -> NetworkConfig:
    """Read the configuration off our names and their shapes; what no shape shows is the paper's."""
    shape = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    paper = NetworkConfig()
    channels = shape["embed_a.project.weight"][0]
    widths = [channels * 2**level for level in range(4)]
    text_hidden, text_dim = shape["tcpm.0.text_hidden.weight"]
    squeezed = [(channels, shape["scpm.squeeze.weight"][0])]
    squeezed += [(2 * width, shape[f"tcpm.{level}.squeeze.weight"][0]) for level, width in enumerate(widths)]
    hidden = [shape[f"encoder_a.{level}.0.feed_forward.project_out.weight"][1] for level in range(4)]
    kept = [shape[f"tcpm.{level}.expand.weight"][1] for level in range(4)]
    return NetworkConfig(
        channels=channels,
        blocks=tuple(_count(weights, f"encoder_a.{level}.") for level in range(4)),
        heads=tuple(shape[f"encoder_a.{level}.0.attention.temperature"][0] for level in range(4)),
        refinement_blocks=_count(weights, "decoder.refinement."),
        expansion=_factor("expansion", paper.expansion, zip(widths, hidden, strict=True)),
        text_encoder=paper.text_encoder if text_dim == CLIP_DIM else None,
        text_dim=text_dim,
        text_hidden=None if text_hidden == text_dim else text_hidden,
        squeeze_divisor=_divisor(paper.squeeze_divisor, squeezed),
        scpm_retention=_factor("retention", paper.scpm_retention, [(channels, shape["scpm.expand.weight"][1])]),
        tcpm_retention=_factor(
            "retention", paper.tcpm_retention, zip((2 * width for width in widths), kept, strict=True)
        ),
        prior=None,  # the weights come with the file
        prior_depths=tuple(_count(weights, f"scpm.prior.stages.{stage}.blocks.") for stage in range(4)),
        prior_widths=tuple(
            shape[f"scpm.prior.{place}.weight"][0]
            for place in ("stem.0", *(f"stages.{stage}.downsample.1" for stage in (1, 2, 3)))
        ),
    )


def _count(weights: Iterable[str], prefix: str) -> int:
    """Count what is numbered right after the prefix."""
    return len({name.removeprefix(prefix).split(".")[0] for name in weights if name.startswith(prefix)})


def _factor(name: str, usual: float, pairs: Iterable[tuple[int, int]]) -> float:
    """Find the factor with `int(factor * whole) == part` for all pairs: the usual one, else the shortest decimal."""
    known = list(pairs)
    lowest = max(Fraction(part, whole) for whole, part in known)
    scales = [10.0**digits for digits in range(1, 9)]
    for factor in (usual, *(math.ceil(lowest * int(scale)) / scale for scale in scales)):
        if all(max(1, int(factor * whole)) == part for whole, part in known):
            return factor
    raise ValueError(f"no {name} turns {', '.join(f'{whole} into {part}' for whole, part in known)} channels")


def _divisor(usual: int, pairs: list[tuple[int, int]]) -> int:
    """Find the divisor with `max(1, whole // divisor) == part` for all pairs, the usual one first."""
    divisors: list[int] = [usual, *range(1, max(whole for whole, _ in pairs) + 1)]
    for divisor in divisors:
        if all(max(1, whole // divisor) == part for whole, part in pairs):
            return divisor
    raise ValueError(f"no divisor turns {', '.join(f'{whole} into {part}' for whole, part in pairs)} channels")
