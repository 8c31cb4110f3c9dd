"""Validation during training: whole pairs are fused with the current weights and measured; a few are drawn.

Shape suffixes: B batch, H height, W width.
"""

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipelines.errors.failures import Row
from pipelines.train.prepared import PairReader
from upfusion.checkpoint import Checkpoint
from upfusion.color import Pixels, luma8
from upfusion.metrics import measure
from upfusion.model import FusionModel, Precision
from upfusion.panels import join_panels

METRICS = ("qp", "vif", "vif_balanced", "ssim", "qabf")
BEST_BY = "vif_balanced"
"""The metric that selects the best checkpoint: unlike the mean of both directions it does not reward copying."""
TRIPTYCHS = 4

Measured = dict[str, dict[str, float | None]]
"""The metrics of every pair by its id."""


class Validator:
    """Validates one worker's share of the pairs; those in `drawn` also give pictures."""

    def __init__(
        self,
        pairs: Sequence[Row],
        texts: dict[tuple[str, str | None], Tensor],
        reader: PairReader,
        precision: Precision,
    ) -> None:
        self._pairs = pairs
        self._texts = texts
        self._reader = reader
        self._precision: Precision = precision

    def validate(
        self, checkpoint: Checkpoint, device: torch.device, drawn: frozenset[str]
    ) -> tuple[Measured, dict[str, bytes]]:
        """Fuse and measure this worker's pairs; those in `drawn` also give a PNG of A, F and B side by side."""
        model = FusionModel(checkpoint, device, precision=self._precision)
        measured: Measured = {}
        pictures: dict[str, bytes] = {}
        for pair in self._pairs:
            a, b = self._reader.read(pair)
            fused = model.fuse_batch([a], [b], self._texts[pair["task"], pair["prompt"]][None])[0]
            values = measure(_luma8(a, device), _luma8(b, device), _luma8(fused, device), METRICS)
            measured[pair["pair_id"]] = {name: values[name][0] for name in METRICS}
            if pair["pair_id"] in drawn:
                pictures[pair["pair_id"]] = _png(join_panels([a, fused, b]))
        return measured, pictures


def mean_of(measured: Measured) -> dict[str, float]:
    """Average each metric over the pairs on which it is defined; a metric without any value is dropped."""
    columns = {name: [row[name] for row in measured.values()] for name in METRICS}
    known = {name: [value for value in column if value is not None] for name, column in columns.items()}
    return {name: float(np.mean(values)) for name, values in known.items() if values}


def _luma8(image: Pixels, device: torch.device) -> Tensor:
    return torch.from_numpy(luma8(image))[None, None].to(device)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
