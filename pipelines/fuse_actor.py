"""The stage that holds the network: fuse and measure a block of pairs."""

import re
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from pipelines.rows import fail, fused_schema, milliseconds_since, pack_image, size_of, unpack_image
from upfusion.checkpoint import parse_checkpoint
from upfusion.color import Pixels, luma8
from upfusion.metrics import METRICS_VERSION, measure, why_none
from upfusion.model import FusionModel, Precision
from upfusion.tiles import Tiles

# One forward pass takes pairs of one size up to this many pixels: three of LLVIP's 1280x1024 on a GPU. A CPU
# gains nothing from batches and pays for them in memory.
PIXELS_A_PASS_GPU = 4_000_000


class FuseActor:
    """One copy of the network on one device: fuses and measures."""

    def __init__(
        self,
        checkpoint: bytes,
        texts: dict[tuple[str, str | None], list[float]],
        metrics: tuple[str, ...],
        threads: int,
        on_gpu: bool,
        precision: Precision = "fp32",
        tiles: Tiles | None = None,
    ) -> None:
        torch.set_num_threads(threads)
        device = "cuda" if on_gpu else "cpu"
        self.model = FusionModel(parse_checkpoint(checkpoint, "checkpoint"), device, precision=precision, tiles=tiles)
        self.texts = {key: torch.tensor(text) for key, text in texts.items()}
        self.metrics = metrics
        self.pixels_a_pass = PIXELS_A_PASS_GPU if on_gpu else 1

    def __call__(self, pairs: pa.Table) -> pa.Table:
        """Fuse a block, grouped by size so that a forward pass is as full as it can be."""
        rows = pairs.to_pylist()
        groups: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            if row["error_code"] is None:
                groups[row["a"]["height"], row["a"]["width"]].append(row)
        for (height, width), group in groups.items():
            size = max(1, self.pixels_a_pass // (height * width))
            for start in range(0, len(group), size):
                self._fuse_group(group[start : start + size])
        return pa.Table.from_pylist(rows, fused_schema(self.metrics))

    def _fuse_group(self, rows: list[dict[str, Any]]) -> None:
        """Fuse pairs of one size; where that fails, one at a time, so that only the culprit fails."""
        failure = self._try_fuse(rows)
        if failure and len(rows) == 1:
            fail(rows[0], *failure)
        elif failure:
            # Here, and not where the error was caught: it holds the memory of what was tried.
            for row in rows:
                self._fuse_group([row])

    def _try_fuse(self, rows: list[dict[str, Any]]) -> tuple[str, str] | None:
        """Fuse pairs of one size, or return the code and the sentence of what went wrong."""
        try:
            self._fuse(rows)
        except Exception as error:
            code = "out_of_memory" if is_out_of_memory(error) else "fuse_failed"
            if code == "fuse_failed" and "CUDA error" in str(error):
                raise  # The device is lost to this process: no pair's fault, and all that follow would fail.
            return code, f"{size_of(rows[0]['a'])}: {type(error).__name__}: {error}"
        return None

    def _fuse(self, rows: list[dict[str, Any]]) -> None:
        started = time.perf_counter()
        a = [unpack_image(row["a"]) for row in rows]
        b = [unpack_image(row["b"]) for row in rows]
        text_BT = torch.stack([self.texts[row["task"], row["prompt"]] for row in rows])
        fused = self.model.fuse_batch(a, b, text_BT)
        fuse_ms = milliseconds_since(started) / len(rows)
        started = time.perf_counter()
        # Measured on the image that is kept, so that anybody measures the same on the file.
        lumas = self.luma8_of(a), self.luma8_of(b), self.luma8_of(fused)
        values = measure(*lumas, self.metrics)
        undefined = {name: why_none(*lumas, name) for name in self.metrics if None in values[name]}
        measure_ms = milliseconds_since(started) / len(rows)
        for position, (row, image) in enumerate(zip(rows, fused, strict=True)):
            row |= {"fused": pack_image(image), "fuse_ms": fuse_ms, "measure_ms": measure_ms}
            row |= {name: values[name][position] for name in self.metrics}
            row["metrics_version"] = METRICS_VERSION
            missing = {name: reasons[position] for name, reasons in undefined.items() if row[name] is None}
            notes = [row["note"], self._note_on_tiles(image), *_notes_on_missing(missing)]
            row["note"] = "; ".join(note for note in notes if note) or None

    def _note_on_tiles(self, fused: Pixels) -> str | None:
        tiles = self.model.tiles
        if tiles is None or not tiles.needed(*fused.shape[:2]):
            return None
        return f"fused in tiles of {tiles.side} pixels that share {tiles.overlap}"

    def luma8_of(self, images: Iterable[Pixels]) -> torch.Tensor:
        return torch.from_numpy(np.stack([luma8(image) for image in images]))[:, None].to(self.model.device)


def _notes_on_missing(reasons: dict[str, str]) -> list[str]:
    """Say why metrics have no value, once for all with one reason."""
    named = defaultdict(list)
    for name, reason in reasons.items():
        named[reason].append(name)
    return [f"no {', '.join(names)}: {reason}" for reason, names in named.items()]


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether an error says that memory ran out."""
    # PyTorch's allocator for the CPU, cuBLAS and cuDNN say it in a RuntimeError's text.
    said = re.search("not enough memory|can't allocate memory|out of memory|ALLOC_FAILED", str(error))
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or said is not None
