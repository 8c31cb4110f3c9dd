"""What `--model` names: a checkpoint, a baseline, or the ONNX network of others.

The driver checks and describes it; it travels to the actors, which build a fuser from it.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, Protocol

import torch
from torch import Tensor

from pipelines.checkpoints.read import local_copy, read_model, read_object
from pipelines.config.fields import RuntimeChoice
from pipelines.errors.exceptions import UsageError
from upfusion.baseline_fuser import BaselineFuser
from upfusion.baselines import BASELINES_VERSION, RULES
from upfusion.checkpoint import Checkpoint, parse_checkpoint
from upfusion.exported_network import export_for_runtime
from upfusion.fuser import Fuser
from upfusion.guidance import Guidance, check_balance
from upfusion.model import FusionModel, Precision
from upfusion.onnx_fuser import OnnxFuser
from upfusion.prompts import TASKS
from upfusion.runtimes import FASTEST, OnnxRuntimeName, Runtime, RuntimeMissingError
from upfusion.tiles import Tiles

ONNX = "onnx:"


class Embedder(Protocol):
    """Finds the embedding of a text."""

    def embed(self, task: str, prompt: str | None = None) -> Tensor:
        """Return `(T,)`; raises ValueError for a text that has no meaning, and PriorUnavailableError."""


class FusionMethod(ABC):
    """How pairs are fused."""

    name: str
    runtime: Runtime = "torch"
    """What computes it; torch for a rule, which needs none."""
    takes_prompts = takes_balance = uses_gpu = has_color_rule = has_tiles = has_bf16 = has_encoder = False

    @property
    @abstractmethod
    def digest(self) -> str:
        """Equal digests fuse alike."""

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """Describe it as JSON, for `run.json`."""

    @abstractmethod
    def build(self, device: str, precision: Precision, tiles: Tiles | None) -> Fuser:
        """Build what fuses, in an actor."""

    def in_runtime(self, runtime: RuntimeChoice) -> "FusionMethod":
        """Return the same method in another runtime.

        Raises ValueError where it has no such runtime, and RuntimeMissingError where that is not installed.
        """
        if runtime in ("torch", "auto"):
            return self
        raise ValueError(f"{self.name} has no network, so --runtime {runtime} has no meaning; leave it out")

    @contextmanager
    def embedder(self, text_encoder: str | None) -> Iterator[Embedder]:  # noqa: ARG002  # for methods with an encoder
        """Yield what embeds texts; `text_encoder` is where the encoder for texts of the user's own lies."""
        yield FixedTexts(self.name, {})

    def check_balance(self, balance: float) -> None:
        """Raise ValueError for a balance that has no meaning."""
        if balance and not self.takes_balance:
            raise ValueError(f"{self.name} takes no balance, so {balance:g} has no meaning; leave it out")


@dataclass(frozen=True)
class CheckpointMethod(FusionMethod):
    """A trained network of ours."""

    checkpoint: Checkpoint = field(repr=False)
    data: bytes = field(repr=False)
    """The checkpoint's file."""
    runtime: Runtime = "torch"
    onnx: bytes | None = field(default=None, repr=False)
    """The exported network, for other runtimes than torch."""
    scheme, suffix = "", ".safetensors"
    has_color_rule = has_tiles = has_encoder = True

    @classmethod
    def parse(cls, data: bytes, runtime: Runtime = "torch", onnx: bytes | None = None) -> "CheckpointMethod":
        """Read a checkpoint from its file's bytes; raises ValueError as `parse_checkpoint` does."""
        return cls(parse_checkpoint(data, "checkpoint"), data, runtime, onnx)

    def __reduce__(self) -> tuple[Any, ...]:
        return CheckpointMethod.parse, (self.data, self.runtime, self.onnx)  # the weights once

    def in_runtime(self, runtime: RuntimeChoice) -> "CheckpointMethod":
        if runtime == "auto":
            runtime = FASTEST
        if runtime == "torch":
            return self
        method = replace(self, runtime=runtime, onnx=export_for_runtime(self.checkpoint))
        method.build("cpu", "fp32", None)  # raises what an actor would
        return method

    @property
    def uses_gpu(self) -> bool:  # type: ignore[override]
        """Whether it runs on GPUs."""
        return self.runtime == "torch"

    @property
    def has_bf16(self) -> bool:  # type: ignore[override]
        """Whether it computes in bfloat16 on request."""
        return self.runtime == "torch"

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name in the checkpoint."""
        return self.checkpoint.name

    @property
    def takes_prompts(self) -> bool:  # type: ignore[override]
        """Whether texts have a measured effect."""
        return self.checkpoint.config.takes_balance

    @property
    def digest(self) -> str:
        return self.checkpoint.digest

    def about(self) -> dict[str, Any]:
        return {"name": self.name, "digest": self.digest} | asdict(self.checkpoint.provenance)

    def build(self, device: str, precision: Precision, tiles: Tiles | None) -> FusionModel:
        return FusionModel(
            self.checkpoint, device, precision=precision, tiles=tiles, runtime=self.runtime, onnx=self.onnx
        )

    @contextmanager
    def embedder(self, text_encoder: str | None) -> Iterator[Embedder]:
        with local_copy(text_encoder, "--text-encoder") as location:
            yield Guidance(self.checkpoint, location)

    def check_balance(self, balance: float) -> None:
        check_balance(balance, self.checkpoint)


@dataclass(frozen=True)
class BaselineMethod(FusionMethod):
    """A rule without weights."""

    name: str
    has_color_rule = True

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"baseline {self.name}, version {BASELINES_VERSION}".encode()).hexdigest()

    def about(self) -> dict[str, Any]:
        return {"name": self.name, "digest": self.digest, "kind": "baseline", "version": BASELINES_VERSION}

    def build(self, device: str, precision: Precision, tiles: Tiles | None) -> BaselineFuser:  # noqa: ARG002
        return BaselineFuser(self.name)


@dataclass(frozen=True)
class OnnxMethod(FusionMethod):
    """A network in an ONNX file."""

    name: str
    data: bytes = field(repr=False)
    """The file."""
    runtime: OnnxRuntimeName = "onnxruntime"
    scheme, suffix = ONNX, ".onnx"

    def in_runtime(self, runtime: RuntimeChoice) -> "OnnxMethod":
        if runtime != "openvino":
            return self
        method = replace(self, runtime="openvino")
        method.build("cpu", "fp32", None)  # raises what an actor would
        return method

    @cached_property
    def fuser(self) -> OnnxFuser:
        """The network on the driver, which says what it takes."""
        return OnnxFuser(self.data, self.name, threads=1)

    def __reduce__(self) -> tuple[Any, ...]:
        return OnnxMethod, (self.name, self.data, self.runtime)  # a session of the runtime does not travel

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def takes_balance(self) -> bool:  # type: ignore[override]
        """Whether the network has an input for it."""
        return self.fuser.layout.balance is not None

    @property
    def takes_prompts(self) -> bool:  # type: ignore[override]
        """Whether the network has an input for texts."""
        return self.fuser.layout.text is not None

    @property
    def has_color_rule(self) -> bool:  # type: ignore[override]
        """Whether the colours are A's."""
        return not self.fuser.layout.makes_images

    def about(self) -> dict[str, Any]:
        lines = {heading.lower(): text for heading, text in self.fuser.layout.describe().items()}
        return {"name": self.name, "digest": self.digest, "kind": "onnx"} | lines

    def build(self, device: str, precision: Precision, tiles: Tiles | None) -> OnnxFuser:  # noqa: ARG002
        return OnnxFuser(self.data, self.name, runtime=self.runtime)

    @contextmanager
    def embedder(self, text_encoder: str | None) -> Iterator[Embedder]:  # noqa: ARG002
        prompts = {name: torch.tensor(numbers) for name, numbers in self.fuser.layout.prompts.items()}
        yield FixedTexts(self.name, prompts)

    def check_balance(self, balance: float) -> None:
        if not -1 <= balance <= 1:
            raise ValueError(f"balance: expected a number from -1 (A) through 0 (both) to 1 (B), got {balance:g}")
        super().check_balance(balance)


class FixedTexts:
    """Knows the embeddings of built-in prompts, or of none."""

    def __init__(self, method: str, known: dict[str, Tensor]) -> None:
        self.method = method
        self.known = known

    def embed(self, task: str, prompt: str | None = None) -> Tensor:
        """Return the embedding of the prompt of a task, or of a built-in prompt by its name."""
        if task not in TASKS:
            raise ValueError(f"unknown task {task!r}; known tasks: {', '.join(TASKS)}")
        if not self.known:
            if prompt is not None:
                raise ValueError(f"{self.method} takes no text, so a prompt has no meaning; leave it out")
            return torch.zeros(0)
        text = task if prompt is None else prompt
        if text not in self.known:
            raise ValueError(f"{self.method} knows no prompt {text!r}; it has {', '.join(self.known)}")
        return self.known[text]


def read_method(model: str, tracking_uri: str | None = None) -> FusionMethod:
    """Find what a name stands for: a baseline, `onnx:FILE`, or a trained model as `read_model` finds it.

    Raises UsageError if there is none, it is untrained, or it cannot be used.
    """
    if model in RULES:
        return BaselineMethod(model)
    if model.startswith(ONNX):
        return _read_onnx(model.removeprefix(ONNX))
    checkpoint, data = read_model(model, tracking_uri)
    if not checkpoint.provenance.trained:
        raise UsageError(f"model {model!r} is untrained and would produce noise")
    return CheckpointMethod(checkpoint, data)


def _read_onnx(uri: str) -> OnnxMethod:
    method = OnnxMethod(PurePosixPath(uri).stem, read_object(uri, "--model"))
    try:
        _ = method.fuser
    except (RuntimeMissingError, ValueError) as error:
        raise UsageError(f"--model {ONNX}{uri}: {error}") from error
    return method
