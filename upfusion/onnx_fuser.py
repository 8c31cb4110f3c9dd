"""Another network, as an ONNX file: two lumas or two RGB images in, one luma or RGB image out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upfusion.color import LUMA_WEIGHTS, ColorRule, Pixels, luma
from upfusion.fuser import Fuser, in_colors_of_a, on_device
from upfusion.network import pad_to_multiple
from upfusion.onnx_layout import OnnxLayout, read_layout
from upfusion.runtimes import OnnxRuntimeName, Session, open_session

BEYOND = 1.0
"""An output may leave the range of black to white by this many times its width."""


class OnnxFuser(Fuser):
    """Fuses by a network in an ONNX file, pair after pair, on the CPU.

    A luma that comes out gets the colour of A; an RGB image keeps its own colours, and is made grey for a grey A.
    Raises RuntimeMissingError without the runtime, and ValueError when the file holds no network of that kind.
    """

    def __init__(
        self, data: bytes, origin: str, threads: int | None = None, runtime: OnnxRuntimeName = "onnxruntime"
    ) -> None:
        self.device = torch.device("cpu")
        self.session: Session = open_session(data, origin, threads or torch.get_num_threads(), runtime)
        self.layout: OnnxLayout = read_layout(self.session, origin)

    def fuse_batch(
        self,
        a: Sequence[Pixels],
        b: Sequence[Pixels],
        text_BT: Tensor,
        balances: Sequence[float] | None = None,
        colors: Sequence[ColorRule] | None = None,
    ) -> list[Pixels]:
        """Fuse pairs of one size; raises ValueError for a size that the network does not take."""
        fused = []
        for position, (one_a, one_b, text_T) in enumerate(zip(a, b, text_BT, strict=True)):
            sources = self._source(one_a), self._source(one_b)
            made_CHW = self.run(*sources, text_T, balances[position] if balances else 0.0)
            if len(made_CHW) == 3:
                fused.append(_as_pixels(made_CHW, one_a, one_b))
            else:
                pixels_a, pixels_b = on_device([one_a], self.device), on_device([one_b], self.device)
                color = [colors[position]] if colors else None
                fused += in_colors_of_a(pixels_a, pixels_b, torch.from_numpy(made_CHW), color)
        return fused

    def run(
        self, a_CHW: NDArray[np.float32], b_CHW: NDArray[np.float32], text_T: Tensor, balance: float
    ) -> NDArray[np.float32]:
        """Run the network on one pair in [0, 1], and return what comes out, (1, H, W) or (3, H, W), in [0, 1]."""
        layout, (height, width) = self.layout, a_CHW.shape[1:]
        padded = [pad_to_multiple(torch.from_numpy(x_CHW[None]), layout.size_multiple) for x_CHW in (a_CHW, b_CHW)]
        for side, expected in zip(padded[0].shape[2:], layout.size, strict=True):
            if expected not in (None, side):
                sizes = f"{layout.size[1]}x{layout.size[0]}"
                raise ValueError(f"the network takes images of {sizes} pixels, this pair has {width}x{height}")
        scale = layout.white - layout.black
        given: dict[str, NDArray[Any]] = {}
        for port, x_1CHW in zip((layout.a, layout.b), padded, strict=True):
            values = x_1CHW.numpy() * np.float32(scale) + np.float32(layout.black)
            given[port.name] = (np.rint(values) if port.type == "uint8" else values).astype(port.type)
        if layout.text:
            given[layout.text.name] = text_T[None].numpy().astype(layout.text.type)
        if layout.balance:
            given[layout.balance.name] = np.array([balance], layout.balance.type)
        out_CHW = self.session.run(given)[0].astype(np.float32)[..., :height, :width]
        if out_CHW.shape[1:] != (height, width) or len(out_CHW) not in (1, 3):
            raise ValueError(f"expected an output (1, H, W) or (3, H, W) of {width}x{height}, got {out_CHW.shape}")
        fused_CHW: NDArray[np.float32] = (out_CHW - np.float32(layout.black)) / np.float32(scale)
        if np.isfinite(fused_CHW).all() and not -BEYOND <= fused_CHW.min() <= fused_CHW.max() <= 1 + BEYOND:
            raise ValueError(
                f"expected values from about {layout.black:g} to {layout.white:g}, the network gave "
                f"{out_CHW.min():g} to {out_CHW.max():g}; name its range in the metadata of the file "
                "(upfusion.value_range)"
            )
        return fused_CHW

    def _source(self, image: Pixels) -> NDArray[np.float32]:
        """Return an image in [0, 1] as the network takes it: (1, H, W), or (3, H, W)."""
        if self.layout.channels == 1:
            return luma(image)[None]
        scaled = image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
        return np.ascontiguousarray(np.moveaxis(scaled, 2, 0) if image.ndim == 3 else np.stack([scaled] * 3))


def _as_pixels(image_3HW: NDArray[np.float32], a: Pixels, b: Pixels) -> Pixels:
    """Return an RGB image in [0, 1] with 16 bits where either source has 16; grey where A is."""
    if not np.isfinite(image_3HW).all():
        raise FloatingPointError("the fused image holds NaN or Inf")
    dtype = np.result_type(a.dtype, b.dtype)
    image = np.moveaxis(image_3HW, 0, 2) if a.ndim == 3 else np.tensordot(LUMA_WEIGHTS, image_3HW, 1)
    top = np.iinfo(dtype).max
    pixels: Pixels = np.rint(image.clip(0, 1) * top).astype(dtype)
    return pixels
