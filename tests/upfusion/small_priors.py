"""Pretrained priors in small: real models of open_clip and timm, made here, and a model hub that nobody reaches."""

import io
import json
import re
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from huggingface_hub import constants
from open_clip import factory, pretrained
from safetensors.torch import save_file
from timm.models import generate_default_cfgs, register_model
from timm.models.convnext import ConvNeXt, _create_convnext
from torch import Tensor

from upfusion.presets import NetworkConfig

NO_HUB = "http://127.0.0.1:9"

CLIP = "small-test/none"
TEXT_DIM = 16
CLIP_CONFIG: dict[str, Any] = {
    "embed_dim": TEXT_DIM,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 16, "patch_size": 16},
    # The size of the vocabulary is that of CLIP's tokenizer.
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}

CONVNEXT = "small_convnext.made_here"
DEPTHS = (1, 1, 2, 1)
WIDTHS = (8, 16, 24, 32)

NETWORK = NetworkConfig(
    channels=8,
    blocks=(1, 1, 1, 1),
    refinement_blocks=1,
    text_encoder=CLIP,
    text_dim=TEXT_DIM,
    prior=CONVNEXT,
    prior_size=32,
    prior_depths=DEPTHS,
    prior_widths=WIDTHS,
)
"""A network whose priors are the ones that are made here."""

default_cfgs = generate_default_cfgs(
    {CONVNEXT: {"hf_hub_id": "timm/", "num_classes": 5, "first_conv": "stem.0", "classifier": "head.fc"}}
)


@register_model
def small_convnext(pretrained: bool = False, **kwargs: Any) -> ConvNeXt:
    return _create_convnext("small_convnext", pretrained=pretrained, depths=DEPTHS, dims=WIDTHS, **kwargs)


def make_convnext(seed: int = 0) -> dict[str, Tensor]:
    """Return the weights of a ConvNeXt with timm's names and a classifier; no two of them are alike."""
    generator = torch.Generator().manual_seed(seed)
    weights = ConvNeXt(depths=DEPTHS, dims=WIDTHS, num_classes=5).state_dict()
    return {name: torch.rand(tensor.shape, generator=generator) for name, tensor in weights.items()}


def in_authors_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give weights of timm the names of the ConvNeXt authors (github.com/facebookresearch/ConvNeXt)."""
    names = {
        r"^stem\.": "downsample_layers.0.",
        r"^stages\.(\d)\.downsample\.": r"downsample_layers.\1.",
        r"^stages\.(\d)\.blocks\.": r"stages.\1.",
        r"\.conv_dw\.": ".dwconv.",
        r"\.mlp\.fc": ".pwconv",
        r"^head\.norm\.": "norm.",
        r"^head\.fc\.": "head.",
    }
    renamed = dict(weights)
    for pattern, name in names.items():
        renamed = {re.sub(pattern, name, key): tensor for key, tensor in renamed.items()}
    return renamed


def make_clip(seed: int = 0, text_dim: int = TEXT_DIM) -> open_clip.CLIP:
    """Build a CLIP with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return open_clip.CLIP(**CLIP_CONFIG | {"embed_dim": text_dim}).eval()


@torch.no_grad()
def encode_by(clip: open_clip.CLIP, *texts: str) -> Tensor:
    """Embed texts as open_clip's README does it."""
    return clip.encode_text(open_clip.tokenize(list(texts)))


def write_clip(folder: Path, clip: open_clip.CLIP) -> Path:
    """Write a CLIP as a folder that open_clip reads; returns the folder."""
    folder.mkdir(parents=True)
    config = CLIP_CONFIG | {"embed_dim": clip.text_projection.shape[1]}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    save_file(clip.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def name_clip(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let open_clip know CLIP by its name, as a model whose weights lie on the hub, for one test."""
    monkeypatch.setattr(factory, "_MODEL_CONFIGS", dict(factory._MODEL_CONFIGS))
    monkeypatch.setattr(factory, "_MODEL_CONFIG_PATHS", [])
    model, tag = CLIP.split("/")
    (folder / f"{model}.json").write_text(json.dumps(CLIP_CONFIG))
    open_clip.add_model_config(folder / f"{model}.json")
    monkeypatch.setitem(pretrained._PRETRAINED, model, {tag: {"hf_hub": f"timm/{model}/"}})


def cut_off_from_hub(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Move the model hub to a port where nothing listens, and its cache to a folder of the test."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "ENDPOINT", NO_HUB)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def put_in_cache(cache: Path, repository: str, name: str, weights: dict[str, Tensor]) -> None:
    """Lay a file where a download from the hub would have left it."""
    top, commit = cache / f"models--{repository.replace('/', '--')}", "0123456789" * 4
    (top / "refs").mkdir(parents=True)
    (top / "refs" / "main").write_text(commit)
    (top / "snapshots" / commit).mkdir(parents=True)
    save_file(weights, top / "snapshots" / commit / name)


def in_pickle(content: Any) -> bytes:
    """Return the bytes of a file that PyTorch saves."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


class Trap:
    """Whoever unpickles it writes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)
