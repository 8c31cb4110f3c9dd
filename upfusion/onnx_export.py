"""A checkpoint as one ONNX file: the whole network, padding and cropping included.

Shape suffixes: B batch (1), T text dimension, W wishes, H height, W width.
"""

import contextlib
import io
import json
import logging
import warnings
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from upfusion.checkpoint import Checkpoint
from upfusion.network import UPFusion
from upfusion.onnx_layout import BALANCE, PROMPTS, TEXT, VALUE_RANGE
from upfusion.runtimes import RuntimeMissingError
from upfusion.version import __version__

OPSET = 18
LARGEST_SIDE = 16384
COLOR_RULE = (
    "a and b are BT.601 luma (full range) in [0, 1]; clip the fused luma to [0, 1]. A's colour: add fused - luma(A) to "
    "R, G and B, as far as all three stay in range"
)

ExportPrecision = Literal["fp32", "fp16"]
Size = tuple[int, int]
"""Height and width."""


def export_onnx(
    checkpoint: Checkpoint,
    size: Size | None = None,
    *,
    precision: ExportPrecision = "fp32",
    text_T: Tensor | None = None,
    balance: float | None = None,
    notes: dict[str, str] | None = None,
) -> bytes:
    """Return an ONNX file (opset 18) that fuses lumas (1, 1, H, W) `a` and `b` in [0, 1] into unclamped `fused`.

    `size` fixes H and W; with None any sides of at least the network's size multiple will do. `text_T` and `balance`
    are baked in, or else inputs `text` (1, T) and `balance` (1,). fp16 keeps the weights of convolutions and linear
    layers, and computes these, in half precision; inputs, output and sums stay float32. `notes` are added to the
    metadata. Raises RuntimeMissingError without onnx and onnxscript, and ValueError for an untrained checkpoint.
    """
    if not checkpoint.provenance.trained:
        raise ValueError(f"the model {checkpoint.name} is untrained: it would give noise")
    try:
        import onnx
        import onnxscript  # noqa: F401  # torch.onnx needs it
    except ImportError as error:
        raise RuntimeMissingError(
            "exporting needs the packages onnx and onnxscript: pip install 'upfusion[export]'"
        ) from error
    multiple = checkpoint.config.size_multiple
    model = _to_graph(_Exported(checkpoint, size, precision, text_T, balance), size, multiple)
    if size is None:
        _pad_inside(model, multiple)
    _forget_source(model)
    onnx.helper.set_model_props(model, _metadata(checkpoint, text_T is None, precision) | (notes or {}))
    model.producer_name, model.producer_version = "upfusion", __version__
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _to_graph(exported: "_Exported", size: Size | None, multiple: int) -> Any:
    """Return the network as an ONNX model for one size, or for all whose sides are such multiples."""
    shapes: dict[str, Any] | None = None
    if size is None:
        sides = [multiple * torch.export.Dim(name, min=2, max=LARGEST_SIDE // multiple) for name in ("rows", "columns")]
        shapes = {"given": tuple(dict(enumerate(sides, 2)) if name in ("a", "b") else None for name in exported.names)}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _quiet():
        warnings.simplefilter("ignore")  # about PyTorch's own code
        program = torch.onnx.export(
            exported,
            exported.example(size or (7 * multiple, 9 * multiple)),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(exported.names),
            output_names=["fused"],
            dynamic_shapes=shapes,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _forget_source(model: Any) -> None:
    """Remove the exporter's metadata: stack traces, with paths of this machine."""
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info):
        part.ClearField("metadata_props")


class _Exported(nn.Module):
    """The network with what is baked in."""

    text: Tensor
    balance: Tensor

    def __init__(
        self,
        checkpoint: Checkpoint,
        size: Size | None,
        precision: ExportPrecision,
        text_T: Tensor | None,
        balance: float | None,
    ) -> None:
        super().__init__()
        self.network: UPFusion = checkpoint.build_network().requires_grad_(False)
        self.is_padded = size is None
        config = checkpoint.config
        self.register_buffer("text", torch.zeros(1, config.text_dim) if text_T is None else text_T[None].clone())
        self.register_buffer("balance", torch.tensor([balance or 0.0]))
        self.names = (
            *("a", "b"),
            *[TEXT] * (config.takes_text and text_T is None),
            *[BALANCE] * (config.takes_balance and balance is None),
        )
        if precision == "fp16":
            _halve(self.network)

    def example(self, size: Size) -> tuple[Tensor, ...]:
        known = {"a": torch.rand(1, 1, *size), "b": torch.rand(1, 1, *size), TEXT: self.text, BALANCE: self.balance}
        return tuple(known[name] for name in self.names)

    def forward(self, *given: Tensor) -> Tensor:
        known = {TEXT: self.text, BALANCE: self.balance} | dict(zip(self.names, given, strict=True))
        a_B1HW, b_B1HW, text_BT = known["a"], known["b"], known[TEXT]
        if not self.is_padded:
            fused_B1HW: Tensor = self.network(a_B1HW, b_B1HW, text_BT, known[BALANCE])
            return fused_B1HW
        return self.network.fuse_padded(a_B1HW, b_B1HW, text_BT, self.network.read_wishes(text_BT, known[BALANCE]))


def _halve(network: UPFusion) -> None:
    """Compute convolutions and linear layers in half precision, as autocast does, but for those that read the text."""

    def to_half(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(x.half() for x in given)

    def to_float(_: nn.Module, __: Any, made: Tensor) -> Tensor:
        return made.float()

    for name, module in network.named_modules():
        # The attention's projection is used as a matrix, in full precision.
        stays = name.startswith("reader.") or name.endswith("attention.project")
        if isinstance(module, nn.Conv2d | nn.Linear) and not stays:
            module.half()
            module.register_forward_pre_hook(to_half)
            module.register_forward_hook(to_float)


def _pad_inside(model: Any, multiple: int) -> None:
    """Put reflection to a multiple of pixels before, and cropping behind, a graph whose sides are such multiples."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    constants = {"size_multiple": [multiple], "no_pads": [0] * 6, "from_start": [0, 0], "sides": [2, 3]}
    graph.initializer.extend(numpy_helper.from_array(np.array(v, np.int64), name) for name, v in constants.items())
    nodes = [
        helper.make_node("Shape", ["a"], ["size"], start=2, end=4),
        helper.make_node("Neg", ["size"], ["minus_size"]),
        helper.make_node("Mod", ["minus_size", "size_multiple"], ["missing"]),
        helper.make_node("Concat", ["no_pads", "missing"], ["pads"], axis=0),
        *(helper.make_node("Pad", [name, "pads"], [f"padded_{name}"], mode="reflect") for name in ("a", "b")),
    ]
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name in ("a", "b"):
                node.input[position] = f"padded_{name}"
        for position, name in enumerate(node.output):
            if name == "fused":
                node.output[position] = "padded_fused"
    crop = helper.make_node("Slice", ["padded_fused", "from_start", "size", "sides"], ["fused"])
    inside = [*nodes, *graph.node, crop]
    del graph.node[:]
    graph.node.extend(inside)
    for port in (*graph.input, *graph.output):
        if port.name in ("a", "b", "fused"):
            port.CopyFrom(helper.make_tensor_value_info(port.name, TensorProto.FLOAT, [1, 1, "height", "width"]))


def _metadata(checkpoint: Checkpoint, has_text: bool, precision: str) -> dict[str, str]:
    config = checkpoint.config
    entries = {
        "upfusion.model": checkpoint.name,
        "upfusion.digest": checkpoint.digest,
        "upfusion.version": __version__,
        "upfusion.precision": precision,
        "upfusion.pads_to_multiple": str(config.size_multiple),
        "upfusion.color_rule": COLOR_RULE,
        "upfusion.provenance": json.dumps(asdict(checkpoint.provenance)),
        VALUE_RANGE: "0..1",
    }
    if has_text and config.takes_text:
        texts = {name: prompt.embedding.tolist() for name, prompt in checkpoint.prompts.items()}
        entries[PROMPTS] = json.dumps(texts)
    return entries


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep the exporter's own log out of sight."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
