"""Checkpoints: one safetensors file holding weights, configuration, prompt embeddings and provenance."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor

from upfusion.network import UPFusion
from upfusion.presets import NetworkConfig

FORMAT_VERSION = 1

EMBEDDED = Path(__file__).parent / "checkpoints"
"""Where the checkpoints that ship with the package lie, as `PRESET.safetensors`."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything a model is made of."""

    name: str
    config: NetworkConfig
    weights: dict[str, Tensor]
    prompts: dict[str, Tensor]
    """Embeddings `(T,)` of the built-in prompts, by name."""
    text_encoder: str
    """The encoder that made the embeddings; those of another one cannot be used with these weights."""
    card: dict[str, Any] = field(default_factory=dict)
    """Provenance for people: data, steps, loss, what was trained and what was not."""
    digest: str = ""
    """SHA-256 of the file this was read from."""

    def build_network(self) -> UPFusion:
        """Build the network with these weights, in evaluation mode."""
        with torch.device("meta"):
            network = UPFusion(self.config)
        network.load_state_dict(self.weights, assign=True)
        return network.eval()

    def to_bytes(self) -> bytes:
        """Serialise to the bytes of a checkpoint file."""
        header = {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "config": asdict(self.config),
            "text_encoder": self.text_encoder,
            "card": self.card,
        }
        tensors = {f"weights.{name}": tensor.contiguous() for name, tensor in self.weights.items()}
        tensors |= {f"prompts.{name}": tensor.contiguous() for name, tensor in self.prompts.items()}
        return dump_tensors(tensors, metadata={"upfusion": json.dumps(header, sort_keys=True)})


def parse_checkpoint(data: bytes, origin: str) -> Checkpoint:
    """Read a checkpoint from a file's bytes; `origin` names it in errors.

    Raises ValueError when the bytes are no checkpoint of ours, or of a version this one cannot read.
    """
    try:
        tensors = parse_tensors(data)
        size = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["upfusion"])
        version = header["format_version"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{origin} is not an upfusion checkpoint") from error
    if version != FORMAT_VERSION:
        raise ValueError(f"{origin} has checkpoint format {version}; this version reads {FORMAT_VERSION}")
    try:
        return Checkpoint(
            name=header["name"],
            config=NetworkConfig.from_dict(header["config"]),
            weights=_below("weights.", tensors),
            prompts=_below("prompts.", tensors),
            text_encoder=header["text_encoder"],
            card=header["card"],
            digest=hashlib.sha256(data).hexdigest(),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{origin} is a checkpoint that this version cannot use: {error}") from error


def locate_checkpoint(model: str) -> str:
    """Turn the name of a preset that ships with the package into its path; leave anything else as it is."""
    embedded = EMBEDDED / f"{model}.safetensors"
    return str(embedded) if embedded.is_file() else model


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
