"""The stage with the network, or another method: fuses and measures a block of pairs."""

import re
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import numpy as np
import pyarrow as pa
import torch

from pipelines.archive.rows import milliseconds_since, pack_image, size_of, unpack_image
from pipelines.checkpoints.fusion_method import FusionMethod
from pipelines.cluster.gpu_memory import DeviceMemory, fitting
from pipelines.errors.failures import Rows, fail
from pipelines.fuse.guide import Guide
from pipelines.fuse.schemas import fused_schema
from pipelines.measure.summary import notes_on_undefined
from upfusion.color import Pixels
from upfusion.color_tensors import luma8, to_device
from upfusion.metrics import METRICS_VERSION, explain_undefined, measure
from upfusion.model import Precision
from upfusion.tiles import Tiles

# While one pass computes on a GPU, the pixels of the next are unpacked and uploaded, those of the last downloaded.
PASSES_AT_ONCE_GPU = 3
# Side of the warm-up pair: the smallest on which every metric is defined.
WARM_UP_SIDE = 192

Size = tuple[int, int]
"""Height and width."""


class FuseActor:
    """One copy of a method, such as a network, on one device: fuses and measures.

    On a GPU several passes run concurrently, each on its own CUDA stream, with as many pairs of one size as
    fit into memory. A CPU gains nothing from either and would only use more memory: it fuses one pair at a time.
    """

    def __init__(
        self,
        method: FusionMethod,
        texts: dict[tuple[str, str | None], list[float]],
        metrics: tuple[str, ...],
        threads: int,
        on_gpu: bool,
        precision: Precision = "fp32",
        tiles: Tiles | None = None,
        guide: Guide | None = None,
        keep_b: bool = False,
        warm_up: bool = True,
    ) -> None:
        torch.set_num_threads(threads)
        self.fuser = method.build("cuda" if on_gpu else "cpu", precision, tiles)
        self.texts = {key: torch.tensor(text) for key, text in texts.items()}
        self.metrics = metrics
        self.guide = guide or Guide()
        self.schema = fused_schema(metrics, keep_b=keep_b)
        self.memory = DeviceMemory() if on_gpu else None
        self.pairs_a_pass: dict[Size, int] = {}
        """How many pairs of a size fit into a pass, where known."""
        self.passes = ThreadPoolExecutor(PASSES_AT_ONCE_GPU, "pass", _choose_stream, (threads,)) if on_gpu else None
        if warm_up:
            self._warm_up()

    def __call__(self, pairs: pa.Table) -> pa.Table:
        """Fuse a block, grouped by size so that forward passes are as full as possible."""
        rows = pairs.to_pylist()
        groups: dict[Size, Rows] = defaultdict(list)
        for row in rows:
            if row["error_code"] is None:
                groups[row["a"]["height"], row["a"]["width"]].append(row)
        batches = [batch for size, group in groups.items() for batch in self._batches(size, group)]
        # Waits for all; re-raises an exception of any of them.
        deque(self.passes.map(self._fuse_group, batches) if self.passes else map(self._fuse_group, batches), maxlen=0)
        return pa.Table.from_pylist(rows, self.schema)

    def _batches(self, size: Size, group: Rows) -> Iterator[Rows]:
        """Split pairs of one size into passes; if it is unknown how many fit, one pair is fused alone to measure it."""
        while self.memory and group and size not in self.pairs_a_pass:
            probe, group = group[:1], group[1:]
            a_pair = self.memory.most_during(partial(self._fuse_group, probe))
            if probe[0]["error_code"] is None:
                self.pairs_a_pass[size] = fitting(self.memory.free(), a_pair, PASSES_AT_ONCE_GPU)
        # Several passes of a block overlap; a single one, however large, leaves the device idle at its ends.
        count = min(self.pairs_a_pass.get(size, 1), -(-len(group) // PASSES_AT_ONCE_GPU))
        for start in range(0, len(group), max(1, count)):
            yield group[start : start + max(1, count)]

    def _fuse_group(self, rows: Rows) -> None:
        """Fuse pairs of one size; on failure retry with smaller batches, so that only the faulty pair fails."""
        failure = self._try_fuse(rows)
        if failure is None:
            return
        if len(rows) == 1:
            fail(rows[0], *failure)
            return
        # Here, not in the except block: the exception keeps the memory of the attempt alive.
        count = 1
        if failure[0] == "out_of_memory":
            count = len(rows) // 2
            size = rows[0]["a"]["height"], rows[0]["a"]["width"]
            self.pairs_a_pass[size] = min(count, self.pairs_a_pass.get(size, count))
            if self.memory:
                self.memory.release()
        for start in range(0, len(rows), count):
            self._fuse_group(rows[start : start + count])

    def _try_fuse(self, rows: Rows) -> tuple[str, str] | None:
        """Fuse pairs of one size, or return the error code and message."""
        try:
            self._fuse(rows)
        except Exception as error:
            code = "out_of_memory" if is_out_of_memory(error) else "fuse_failed"
            if code == "fuse_failed" and "CUDA error" in str(error):
                raise  # The device is unusable for this process: not the pair's fault, and all later pairs would fail.
            return code, f"{size_of(rows[0]['a'])}: {type(error).__name__}: {error}"
        return None

    def _fuse(self, rows: Rows) -> None:
        started = time.perf_counter()
        a = [unpack_image(row["a"]) for row in rows]
        b = [unpack_image(row["b"]) for row in rows]
        text_BT = torch.stack([self.texts[row["task"], row["prompt"]] for row in rows])
        balances, colors = [self.guide.balance_of(row) for row in rows], [self.guide.color_of(row) for row in rows]
        fused = self.fuser.fuse_batch(a, b, text_BT, balances, colors)
        fuse_ms = milliseconds_since(started) / len(rows)
        started = time.perf_counter()
        # Measured on the stored image, so that measuring the file gives the same values.
        lumas = self.luma8_of(a), self.luma8_of(b), self.luma8_of(fused)
        values = measure(*lumas, self.metrics)
        undefined = {name: explain_undefined(*lumas, name) for name in self.metrics if None in values[name]}
        measure_ms = milliseconds_since(started) / len(rows)
        for position, (row, image) in enumerate(zip(rows, fused, strict=True)):
            row |= {"fused": pack_image(image), "fuse_ms": fuse_ms, "measure_ms": measure_ms}
            row |= {name: values[name][position] for name in self.metrics}
            row["metrics_version"] = METRICS_VERSION
            missing = {name: reasons[position] for name, reasons in undefined.items() if row[name] is None}
            notes = [row["note"], self._note_on_tiles(image), *notes_on_undefined(missing)]
            row["note"] = "; ".join(note for note in notes if note) or None

    def _warm_up(self) -> None:
        """Fuse a dummy pair, so that one-time costs of the device do not count for the first pairs."""
        pixels = np.random.default_rng(0).integers(0, 256, (WARM_UP_SIDE, WARM_UP_SIDE), np.uint8)
        text_BT = torch.zeros(1, len(next(iter(self.texts.values()), ())))
        # An error here occurs again with real pairs, and is then reported in their rows.
        with suppress(Exception):
            fused = self.fuser.fuse_batch([pixels], [pixels], text_BT)
            measure(self.luma8_of([pixels]), self.luma8_of([pixels]), self.luma8_of(fused), self.metrics)
        if self.memory:
            torch.cuda.synchronize()  # other streams use the weights without synchronisation

    def _note_on_tiles(self, fused: Pixels) -> str | None:
        tiles = self.fuser.tiles
        if tiles is None or not tiles.needed(*fused.shape[:2]):
            return None
        return f"fused in tiles of {tiles.side} pixels that overlap by {tiles.overlap}"

    def luma8_of(self, images: Iterable[Pixels]) -> torch.Tensor:
        """Return the luma `(N, 1, H, W)` of some images of one size, 0..255, on this copy's device."""
        return torch.stack([luma8(to_device(image, self.fuser.device)) for image in images])[:, None]


def _choose_stream(threads: int) -> None:
    torch.set_num_threads(threads)
    torch.cuda.set_stream(torch.cuda.Stream())


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether an error means out of memory."""
    # PyTorch's CPU allocator, cuBLAS and cuDNN report it only in the text of a RuntimeError.
    found = re.search("not enough memory|can't allocate memory|out of memory|ALLOC_FAILED", str(error))
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or found is not None
