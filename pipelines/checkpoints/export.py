"""Exporting a model to one ONNX file, compared with PyTorch before it is written."""

from dataclasses import dataclass
from pathlib import PurePosixPath

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.checkpoints.config import ExportModelConfig
from pipelines.checkpoints.read import local_copy, read_model, refuse_existing, write_bytes
from pipelines.demo.street import draw_pair
from pipelines.errors.exceptions import UsageError
from upfusion.checkpoint import Checkpoint
from upfusion.color import luma
from upfusion.guidance import Guidance, check_balance
from upfusion.model import FusionModel
from upfusion.onnx_export import Size, export_onnx
from upfusion.onnx_fuser import OnnxFuser
from upfusion.priors import PriorUnavailableError
from upfusion.runtimes import RuntimeMissingError

SIZES: tuple[Size, ...] = ((480, 640), (487, 645), (240, 320), (100, 75), (33, 200))
"""Sizes that a file for any size is compared at."""

LARGEST_DIFFERENCE = {"fp32": 0.5, "fp16": 3.0}
"""In levels of 255; a file that differs by more is not written."""


@dataclass(frozen=True)
class Exported:
    """A file that was written."""

    uri: str
    checkpoint: Checkpoint
    bytes: int
    inputs: tuple[str, ...]
    compared: dict[Size, float]
    """Largest difference from PyTorch by size, in levels of 255."""


def export_model(config: ExportModelConfig) -> Exported:
    """Write a model as an ONNX file; raises UsageError for invalid arguments and where it differs from PyTorch."""
    uri = config.out or f"{PurePosixPath(config.model).stem}.onnx"
    refuse_existing(uri)
    checkpoint, _ = read_model(config.model, config.tracking_uri)
    text_T = _embed(checkpoint, config)
    try:
        if config.balance is not None:
            check_balance(config.balance, checkpoint)
        notes = {"upfusion.prompt": config.prompt} if config.prompt else {}
        notes |= {"upfusion.balance": f"{config.balance:g}"} if config.balance is not None else {}
        data = export_onnx(
            checkpoint,
            config.height_and_width,
            precision=config.precision,
            text_T=text_T,
            balance=config.balance,
            notes=notes,
        )
        fuser = OnnxFuser(data, uri, threads=torch.get_num_threads())
    except (RuntimeMissingError, ValueError) as error:
        raise UsageError(str(error)) from error
    compared = compare(checkpoint, fuser, config, text_T)
    worst, limit = max(compared.values()), LARGEST_DIFFERENCE[config.precision]
    if not worst <= limit:
        raise UsageError(
            f"nothing was written: the ONNX file differs from PyTorch by {worst:.3g} of 255 levels, more than {limit:g}"
        )
    write_bytes(uri, data)
    return Exported(uri, checkpoint, len(data), tuple(port.name for port in fuser.session.inputs), compared)


def compare(
    checkpoint: Checkpoint, fuser: OnnxFuser, config: ExportModelConfig, text_T: Tensor | None
) -> dict[Size, float]:
    """Return the largest difference from PyTorch on drawn pairs, by size, in levels of 255."""
    model = FusionModel(checkpoint, "cpu")
    if text_T is None:
        text_T = model.guidance.embed("ir_visible") if checkpoint.config.takes_text else torch.zeros(1)
    balances = (config.balance,) if config.balance is not None or not fuser.layout.balance else (0.0, -0.7, 0.4)
    sizes = SIZES if config.height_and_width is None else (config.height_and_width,)
    return {
        size: max(_difference(model, fuser, _draw(seed, size), text_T, balance or 0.0) for balance in balances)
        for seed, size in enumerate(sizes)
    }


def _difference(
    model: FusionModel, fuser: OnnxFuser, pair: tuple[NDArray[np.float32], ...], text_T: Tensor, balance: float
) -> float:
    a_1HW, b_1HW = pair
    a_11HW, b_11HW = (torch.from_numpy(x[None]) for x in pair)
    expected = model.fuse_lumas(a_11HW, b_11HW, text_T[None], torch.tensor([balance]))[0].numpy()
    return float(np.abs(fuser.run(a_1HW, b_1HW, text_T, balance) - expected).max()) * 255


def _draw(seed: int, size: Size) -> tuple[NDArray[np.float32], ...]:
    """Draw a pair of a night street as lumas (1, H, W)."""
    height, width = size
    drawn = draw_pair(np.random.default_rng(seed), 320, 240)
    resized = (cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) for image in drawn)
    return tuple(luma(np.asarray(image, np.uint8))[None] for image in resized)


def _embed(checkpoint: Checkpoint, config: ExportModelConfig) -> Tensor | None:
    """Return the embedding of the prompt to bake in; None where the text stays an input."""
    if config.prompt is None:
        return None
    with local_copy(config.text_encoder, "--text-encoder") as location:
        try:
            return Guidance(checkpoint, location).embed("ir_visible", config.prompt)
        except (PriorUnavailableError, ValueError) as error:
            raise UsageError(str(error)) from error
