"""The names that the authors' released network gives to the parts of ours."""

import re

from torch import Tensor

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
INSIDE_CONVNEXT_BLOCKS = {
    "layer_scale": "gamma",
    "block.0": "conv_dw",
    "block.2": "norm",
    "block.3": "mlp.fc1",
    "block.5": "mlp.fc2",
}


def from_authors(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the authors' state dict, and leave out the encoders of the ground truth, which nothing uses."""
    return {
        # torchvision's layer scale is (C, 1, 1), timm's is (C,).
        our_name(name): tensor.flatten() if name.endswith("layer_scale") else tensor
        for name, tensor in weights.items()
        if "_gt" not in name
    }


def our_name(name: str) -> str:
    """Translate one name."""
    part = next(part for part in PARTS if name == part or name.startswith(part + "."))
    rest = name.removeprefix(part)
    if PARTS[part] == "scpm.prior":
        return "scpm.prior" + _inside_convnext(rest)
    return PARTS[part] + _replaced(rest, INSIDE_TCPM if "tcpm" in PARTS[part] else INSIDE_GAM_AND_BLOCKS)


def _inside_convnext(rest: str) -> str:
    """torchvision counts stem, stages and downsamplers in one row; odd places are stages."""
    place, index, inner = re.fullmatch(r"\.(\d)\.(\d)(\..*)", rest).groups()  # type: ignore[union-attr]
    if place == "0":
        return f".stem.{index}{inner}"
    if int(place) % 2 == 0:
        return f".stages.{int(place) // 2}.downsample.{index}{inner}"
    return f".stages.{int(place) // 2}.blocks.{index}" + _replaced(inner, INSIDE_CONVNEXT_BLOCKS)


def _replaced(name: str, words: dict[str, str]) -> str:
    """Replace whole dotted words; the longest match of a place wins."""
    longest_first = sorted(words, key=len, reverse=True)
    pattern = r"(?<=\.)(" + "|".join(map(re.escape, longest_first)) + r")(?=\.|$)"
    return re.sub(pattern, lambda match: words[match[0]], name)
