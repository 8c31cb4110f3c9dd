"""The five-line use: load a model, fuse two images.

import upfusion
model = upfusion.load("tiny")
fused = model.fuse("visible.png", "infrared.png", task="ir_visible")
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from upfusion.checkpoint import Checkpoint, locate_checkpoint, parse_checkpoint
from upfusion.color import ColorRule, Pixels, color_rule
from upfusion.create import create_checkpoint
from upfusion.fuser import Fuser, in_colors_of_a, lumas_of, on_device
from upfusion.guidance import Guidance, check_balance
from upfusion.image_sources import Array, ImageSource, as_given, to_pixels
from upfusion.presets import PRESETS
from upfusion.runtimes import FASTEST, Runtime
from upfusion.tiles import Tiles, fuse_in_tiles

Precision = Literal["fp32", "bf16"]

_TRAINED_ONES = "use tiny, train it with `upfusion train`, or convert the authors' checkpoint with `upfusion convert`"


def load(
    model: str | Path = "tiny",
    device: str | torch.device | None = None,
    *,
    precision: Precision = "fp32",
    tiles: Tiles | None = None,
    runtime: Runtime | Literal["auto"] = "torch",
    weights: str | Path | None = None,
    text_encoder: str | Path | None = None,
    pretrained: bool = True,
) -> "FusionModel":
    """Load a checkpoint file, a preset that ships trained (`tiny`, `nano`), or an untrained preset to work on.

    `device` is a GPU where there is one, else the CPU. `weights` (ConvNeXt, for an untrained preset) and
    `text_encoder` are local copies of priors, for machines that reach no model hub; `pretrained=False` makes an
    untrained preset without them. `runtime` computes the network: torch, onnxruntime or openvino (on the CPU, in fp32;
    the first time it is exported, which takes up to a minute), or auto, the fastest as measured, now torch. Raises
    FileNotFoundError when there is neither a preset nor a file of that name, ValueError when a file is not what it
    should be, PriorUnavailableError when a prior cannot be had, and RuntimeMissingError without the runtime.
    """
    path = Path(locate_checkpoint(str(model)))
    if path.is_file():
        if weights:
            raise ValueError(f"{model} holds its ConvNeXt, so weights have no place in it")
        checkpoint = parse_checkpoint(path.read_bytes(), str(path))
    elif str(model) in PRESETS:
        checkpoint = create_checkpoint(str(model), weights=weights, text_encoder=text_encoder, pretrained=pretrained)
    else:
        raise FileNotFoundError(f"no model {str(model)!r}: expected a checkpoint file or one of: {', '.join(PRESETS)}")
    return FusionModel(checkpoint, device, precision=precision, tiles=tiles, runtime=runtime, text_encoder=text_encoder)


class FusionModel(Fuser):
    """A network with its weights and prompts, on one device.

    `precision` bf16 runs convolutions and matrix products in bfloat16. With `tiles`, images larger than a tile are
    fused in parts, which changes the result (upfusion/tiles.py). `onnx` is this checkpoint exported, for other runtimes
    than torch, which export it where it is not given.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str | torch.device | None = None,
        *,
        precision: Precision = "fp32",
        tiles: Tiles | None = None,
        runtime: Runtime | Literal["auto"] = "torch",
        onnx: bytes | None = None,
        text_encoder: str | Path | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.precision = precision
        self.tiles = tiles
        self.guidance = Guidance(checkpoint, text_encoder)
        self.network = checkpoint.build_network().to(self.device)
        self.runtime: Runtime = self._choose(runtime)
        self._run: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] = self.network
        if self.runtime != "torch":
            from upfusion.exported_network import ExportedNetwork, export_for_runtime  # only where it is used

            self._run = ExportedNetwork(onnx or export_for_runtime(checkpoint), self.runtime)

    def __repr__(self) -> str:
        weights = sum(weight.numel() for weight in self.network.parameters()) / 1e6
        state = "" if self.checkpoint.provenance.trained else "untrained, "
        return f"FusionModel({self.checkpoint.name}, {state}{weights:.2f} M weights, {self.precision} on {self.device})"

    def _choose(self, runtime: Runtime | Literal["auto"]) -> Runtime:
        if runtime == "auto":
            return FASTEST
        if runtime != "torch" and not (self.device.type == "cpu" and self.precision == "fp32"):
            raise ValueError(
                f"the runtime {runtime} computes in fp32 on the CPU, not in {self.precision} on {self.device}"
            )
        return runtime

    def to(self, device: str | torch.device) -> "FusionModel":
        """Move the network to another device; returns this model. Raises ValueError where the runtime has no other."""
        if self.runtime != "torch" and torch.device(device).type != "cpu":
            raise ValueError(f"the runtime {self.runtime} computes on the CPU, not on {device}")
        self.device = torch.device(device)
        self.network.to(self.device)
        return self

    def save(self, path: str | Path) -> None:
        """Write the checkpoint, which `load` reads again; raises OSError."""
        self.checkpoint.save(path)

    @overload
    def fuse(
        self,
        a: Tensor,
        b: ImageSource,
        *,
        task: str = ...,
        prompt: str | None = ...,
        balance: float = ...,
        color: ColorRule | None = ...,
    ) -> Tensor: ...

    @overload
    def fuse(
        self,
        a: str | Path | Image.Image | Array,
        b: ImageSource,
        *,
        task: str = ...,
        prompt: str | None = ...,
        balance: float = ...,
        color: ColorRule | None = ...,
    ) -> NDArray[Any]: ...

    def fuse(
        self,
        a: ImageSource,
        b: ImageSource,
        *,
        task: str = "ir_visible",
        prompt: str | None = None,
        balance: float = 0.0,
        color: ColorRule | None = None,
    ) -> NDArray[Any] | Tensor:
        """Fuse source A, whose colour is kept, with source B, used as luminance.

        Sources are paths, PIL images, arrays `(H, W)` or `(H, W, 3)` or tensors `(H, W)`, `(1, H, W)` or `(3, H, W)`,
        of 8 or 16 bits or of floats in [0, 1]. `prompt` is a text, or the
        name of a built-in one (`general`), instead of the task's. `balance` is how much of A and of B the result keeps,
        from -1 (A) through 0 (both) to 1 (B). `color` says what gives way where a saturated colour leaves no room for
        the fused luma, by default as suits the task. Returns an array of A's shape, of 8 bits, or 16 where a source
        has 16; where A is a tensor or has floats, so has the result. Raises ValueError when the sizes differ or the
        model is untrained, and as `to_pixels` and `Guidance.embed` do.
        """
        return next(self.fuse_many([(a, b)], task=task, prompt=prompt, balance=balance, color=color))

    def fuse_many(
        self,
        pairs: Iterable[tuple[ImageSource, ImageSource]],
        *,
        task: str = "ir_visible",
        prompt: str | None = None,
        balance: float = 0.0,
        color: ColorRule | None = None,
        batch: int = 8,
    ) -> Iterator[NDArray[Any] | Tensor]:
        """Fuse pairs one after the other, as `fuse` does, whatever their sizes; gives the results in their order.

        Pairs in succession that have one size go through the network together, up to `batch` of them. `pairs` may be
        a generator: at most `batch` + 1 pairs are in memory. Raises what `fuse` raises, at the pair that is wrong.
        """
        check_balance(balance, self.checkpoint)
        text_T, color = self.guidance.embed(task, prompt), color or color_rule(task)
        for group in _in_batches(pairs, batch):
            given, a, b = zip(*group, strict=True)
            count = len(group)
            fused = self.fuse_batch(a, b, text_T.expand(count, -1), [balance] * count, [color] * count)
            yield from map(as_given, fused, given)

    @torch.inference_mode()
    def fuse_batch(
        self,
        a: Sequence[Pixels],
        b: Sequence[Pixels],
        text_BT: Tensor,
        balances: Sequence[float] | None = None,
        colors: Sequence[ColorRule] | None = None,
    ) -> list[Pixels]:
        """Fuse pairs of one size in one forward pass, each with its own row of `text_BT`, balance and colour rule.

        Raises ValueError when the model is untrained, and FloatingPointError when the fused luma holds NaN or Inf.
        """
        if not self.checkpoint.provenance.trained:
            raise ValueError(f"the model {self.checkpoint.name} is untrained: it would give noise; {_TRAINED_ONES}")
        pixels_a, pixels_b = on_device(a, self.device), on_device(b, self.device)
        balance_B = torch.tensor(balances or [0.0] * len(a))
        fused_B1HW = self.fuse_lumas(lumas_of(pixels_a), lumas_of(pixels_b), text_BT, balance_B)
        return in_colors_of_a(pixels_a, pixels_b, fused_B1HW[:, 0].float(), colors)

    @torch.inference_mode()
    def fuse_lumas(self, a_B1HW: Tensor, b_B1HW: Tensor, text_BT: Tensor, balance_B: Tensor | None = None) -> Tensor:
        """Fuse lumas (B, 1, H, W) in [0, 1] into unclamped luma of the same shape, on this model's device."""
        balance_B = torch.zeros(len(a_B1HW)) if balance_B is None else balance_B
        a_B1HW, b_B1HW, text_BT, balance_B = (x.to(self.device) for x in (a_B1HW, b_B1HW, text_BT, balance_B))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            if self.tiles and self.tiles.needed(*a_B1HW.shape[-2:]):
                return fuse_in_tiles(self._run, a_B1HW, b_B1HW, text_BT, balance_B, self.tiles)
            return self._run(a_B1HW, b_B1HW, text_BT, balance_B)


def _in_batches(
    pairs: Iterable[tuple[ImageSource, ImageSource]], most: int
) -> Iterator[list[tuple[ImageSource, Pixels, Pixels]]]:
    """Group pairs in succession that have one size; each as A as given, A's pixels, B's pixels."""
    group: list[tuple[ImageSource, Pixels, Pixels]] = []
    for a, b in pairs:
        pixels_a, pixels_b = to_pixels(a), to_pixels(b)
        if pixels_a.shape[:2] != pixels_b.shape[:2]:
            yield from [group] * bool(group)
            raise ValueError(f"sources differ in size: A is {_size(pixels_a)}, B is {_size(pixels_b)} pixels")
        if group and (len(group) == most or pixels_a.shape[:2] != group[0][1].shape[:2]):
            yield group
            group = []
        group.append((a, pixels_a, pixels_b))
    if group:
        yield group


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
