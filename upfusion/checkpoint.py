"""Checkpoints: one safetensors file holding weights, configuration, prompt bank and provenance.

A safetensors file holds numbers and text and nothing that could be executed. The metadata carry a digest of
everything else, so that a damaged or edited file is refused instead of fusing images quietly wrong.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor

from upfusion.network import UPFusion
from upfusion.presets import NetworkConfig

FORMAT_VERSION = 2

EMBEDDED = Path(__file__).parent / "checkpoints"
"""Where the checkpoints that ship with the package lie, as `PRESET.safetensors`."""

MOST_WEIGHTS_NAMED = 8


@dataclass(frozen=True)
class Prompt:
    """One text of the prompt bank with its embedding `(T,)`."""

    text: str
    embedding: Tensor


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the weights come from, for people: what a model card says."""

    trained: bool = True
    """False for a network whose weights, but for its priors, are random."""
    data: str = ""
    epochs: float | None = None
    git_commit: str | None = None
    """Commit of upfusion that trained or converted the weights."""
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    """Test set, metric, mean."""
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    """Settings of the training run."""
    notes: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Provenance":
        """Build from the JSON form; fields that a later version added say nothing to this one, and are left out."""
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        return cls(**{**known, "notes": tuple(values.get("notes", ()))})


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything a model is made of."""

    name: str
    config: NetworkConfig
    weights: dict[str, Tensor]
    prompts: dict[str, Prompt]
    """The prompt bank: texts by name, embedded by `config.text_encoder`. It may be empty."""
    provenance: Provenance

    @classmethod
    def load(cls, path: str | Path) -> "Checkpoint":
        """Read a checkpoint file; raises OSError, and ValueError as `parse_checkpoint` does."""
        return parse_checkpoint(Path(path).read_bytes(), str(path))

    def save(self, path: str | Path) -> None:
        """Write a checkpoint file, whole or not at all; raises OSError."""
        path = Path(path)
        unfinished = path.with_name(f"{path.name}.unfinished")
        unfinished.write_bytes(self.to_bytes())
        unfinished.replace(path)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything in the checkpoint: equal digests fuse alike."""
        return _digest(self._header(), self._tensors())

    def build_network(self) -> UPFusion:
        """Build the network with these weights, in evaluation mode.

        Raises ValueError, naming the weights, when they do not belong to the configuration.
        """
        with torch.device("meta"):
            network = UPFusion(self.config)
        if wrong := list_mismatches(self.weights, network):
            shown = wrong[:MOST_WEIGHTS_NAMED] + ["..."] * (len(wrong) > MOST_WEIGHTS_NAMED)
            raise ValueError(f"the weights do not belong to the configuration: {'; '.join(shown)}")
        network.load_state_dict(self.weights, assign=True)
        return network.eval()

    def to_bytes(self) -> bytes:
        """Serialise to the bytes of a checkpoint file."""
        # A checkpoint that an earlier or later version wrote has that file's digest, and is written as of this version.
        header = self._header() | {"digest": _digest(self._header(), self._tensors())}
        return dump_tensors(self._tensors(), metadata={"upfusion": json.dumps(header)})

    def _header(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "config": asdict(self.config),
            "prompts": {name: prompt.text for name, prompt in self.prompts.items()},
            "provenance": asdict(self.provenance),
        }

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"weights.{name}": tensor.contiguous() for name, tensor in self.weights.items()}
        return tensors | {f"prompts.{name}": prompt.embedding.contiguous() for name, prompt in self.prompts.items()}


def parse_checkpoint(data: bytes, origin: str) -> Checkpoint:
    """Read a checkpoint from a file's bytes; `origin` names it in errors.

    Raises ValueError when the bytes are no checkpoint of ours, are cut short or damaged, differ from what was
    written, or are of a version that this one cannot read.
    """
    header = _read_header(data, origin)
    try:
        tensors = parse_tensors(data)
    except SafetensorError as error:
        raise ValueError(f"{origin} is a damaged or truncated checkpoint: {error}") from error
    digest = header.pop("digest", None)
    if digest != _digest(header, tensors):
        raise ValueError(f"{origin} was changed after it was written: its contents do not give its digest")
    try:
        weights, embeddings = (_below(prefix, tensors) for prefix in ("weights.", "prompts."))
        checkpoint = Checkpoint(
            name=header["name"],
            config=NetworkConfig.from_dict(header["config"]),
            weights=weights,
            prompts={name: Prompt(text, embeddings[name]) for name, text in header["prompts"].items()},
            provenance=Provenance.from_dict(header["provenance"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{origin} is a checkpoint that this version cannot use: {error}") from error
    # The file's own, which stays the same where a later version adds fields.
    checkpoint.__dict__["digest"] = digest
    return checkpoint


def locate_checkpoint(model: str) -> str:
    """Turn the name of a preset that ships with the package into its path; leave anything else as it is."""
    embedded = EMBEDDED / f"{model}.safetensors"
    return str(embedded) if embedded.is_file() else model


def list_mismatches(weights: Mapping[str, Tensor], network: UPFusion) -> list[str]:
    """Say for every weight that is missing, not known or of another shape than the network's what is wrong."""
    expected = network.state_dict()
    missing = [f"{name} is missing" for name in expected if name not in weights]
    unknown = [f"{name} is not known" for name in weights if name not in expected]
    reshaped = [
        f"{name} has shape {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    return missing + unknown + reshaped


def _read_header(data: bytes, origin: str) -> dict[str, Any]:
    size = int.from_bytes(data[:8], "little")
    if data[8:9] == b"{" and len(data) < 8 + size:
        raise ValueError(f"{origin} is truncated: {len(data)} bytes, and its table of contents alone takes {8 + size}")
    try:
        header: dict[str, Any] = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["upfusion"])
        version = header["format_version"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{origin} is not an upfusion checkpoint") from error
    if version != FORMAT_VERSION:
        raise ValueError(f"{origin} has checkpoint format {version}; this version reads {FORMAT_VERSION}")
    return header


def _digest(header: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
