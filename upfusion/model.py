"""The five-line use: load a model, fuse two images.

import upfusion
model = upfusion.load("tiny")
fused = model.fuse("visible.png", "infrared.png", task="ir_visible")
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from upfusion.checkpoint import EMBEDDED, Checkpoint, locate_checkpoint, parse_checkpoint
from upfusion.color import Pixels, exchange_luma, luma
from upfusion.images import read_image, to_array
from upfusion.prompts import TASKS
from upfusion.text import encode_prompt

ImageSource = str | Path | Image.Image | Pixels


def load(model: str | Path = "tiny", device: str | torch.device | None = None) -> "FusionModel":
    """Load a preset that ships with the package (`tiny`) or a checkpoint file.

    `device` is a GPU where there is one, else the CPU. Raises FileNotFoundError when there is neither a
    preset nor a file of that name, and ValueError when the file is no checkpoint.
    """
    path = Path(locate_checkpoint(str(model)))
    if not path.is_file():
        shipped = ", ".join(sorted(file.stem for file in EMBEDDED.glob("*.safetensors")))
        raise FileNotFoundError(f"no model {str(model)!r}: expected a checkpoint file or one of: {shipped}")
    return FusionModel(parse_checkpoint(path.read_bytes(), str(path)), device)


class FusionModel:
    """A network with its weights and prompts, on one device."""

    def __init__(self, checkpoint: Checkpoint, device: str | torch.device | None = None) -> None:
        self.checkpoint = checkpoint
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network = checkpoint.build_network().to(self.device)

    def fuse(self, a: ImageSource, b: ImageSource, *, task: str = "ir_visible", prompt: str | None = None) -> Pixels:
        """Fuse source A, whose colour is kept, with source B, used as luminance.

        Sources are paths, PIL images or arrays `(H, W)` or `(H, W, 3)` of 8 or 16 bits. Returns an array of
        A's shape; 8 bits, or 16 where a source has 16. Raises ValueError when the sizes differ.
        """
        pixels_a, pixels_b = _to_pixels(a), _to_pixels(b)
        if pixels_a.shape[:2] != pixels_b.shape[:2]:
            raise ValueError(f"sources differ in size: A is {_size(pixels_a)}, B is {_size(pixels_b)} pixels")
        return self.fuse_batch([pixels_a], [pixels_b], self.embed(task, prompt)[None])[0]

    def fuse_batch(self, a: Sequence[Pixels], b: Sequence[Pixels], text_BT: Tensor) -> list[Pixels]:
        """Fuse pairs of one size in one forward pass, each guided by its own row of `text_BT`.

        Raises FloatingPointError when the network gives something that is no number.
        """
        a_B1HW, b_B1HW = self._lumas(a), self._lumas(b)
        with torch.inference_mode():
            fused_B1HW = self.network(a_B1HW, b_B1HW, text_BT.to(self.device))
        fused_BHW = fused_B1HW[:, 0].float().cpu().numpy()
        if not np.isfinite(fused_BHW).all():
            raise FloatingPointError("the network gave values that are no numbers")
        return [
            exchange_luma(one_a, one, np.promote_types(one_a.dtype, one_b.dtype))
            for one_a, one_b, one in zip(a, b, fused_BHW, strict=True)
        ]

    def embed(self, task: str, prompt: str | None = None, text_encoder: str | None = None) -> Tensor:
        """Return the embedding `(T,)` of a task's built-in prompt, or of a custom one.

        Raises ValueError for an unknown task, and TextEncoderUnavailableError when a custom prompt cannot
        be encoded here.
        """
        if task not in TASKS:
            raise ValueError(f"unknown task {task!r}; known tasks: {', '.join(TASKS)}")
        if prompt is None:
            return self.checkpoint.prompts[task]
        return encode_prompt(prompt, self.checkpoint.text_encoder, text_encoder)

    def _lumas(self, images: Sequence[Pixels]) -> Tensor:
        return torch.from_numpy(np.stack([luma(image) for image in images]))[:, None].to(self.device)


def _to_pixels(source: ImageSource) -> Pixels:
    if isinstance(source, str | Path):
        return read_image(source)
    if isinstance(source, Image.Image):
        return to_array(source)
    if source.dtype not in (np.uint8, np.uint16) or not (source.ndim == 2 or source.shape[2:] == (3,)):
        raise ValueError(
            f"expected an 8 or 16 bit array (H, W) or (H, W, 3), got {source.dtype} with shape {source.shape}"
        )
    return source


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
