"""The stage that holds the network: fuse and measure a block of pairs."""

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
from pipelines.cluster.gpu_memory import DeviceMemory, fitting
from pipelines.errors.failures import Rows, fail
from pipelines.fuse.guide import Guide
from pipelines.fuse.schemas import fused_schema
from upfusion.checkpoint import parse_checkpoint
from upfusion.color import Pixels
from upfusion.color_tensors import luma8, send
from upfusion.metrics import METRICS_VERSION, measure, why_none
from upfusion.model import FusionModel, Precision
from upfusion.tiles import Tiles

# While one forward pass computes on a GPU, the pixels of the next are unpacked and sent, those of the last fetched.
PASSES_AT_ONCE_GPU = 3
# Sides of the pair that an actor warms up with: the smallest that every metric has a value on.
WARM_UP_SIDE = 192

Size = tuple[int, int]
"""Height and width."""


class FuseActor:
    """One copy of the network on one device: fuses and measures.

    On a GPU several passes are under way at once, each on a stream of its own, and hold as many pairs of one size as
    there is memory for. A CPU gains nothing from either and pays for both in memory: it takes pair after pair.
    """

    def __init__(
        self,
        checkpoint: bytes,
        texts: dict[tuple[str, str | None], list[float]],
        metrics: tuple[str, ...],
        threads: int,
        on_gpu: bool,
        precision: Precision = "fp32",
        tiles: Tiles | None = None,
        guide: Guide | None = None,
    ) -> None:
        torch.set_num_threads(threads)
        device = "cuda" if on_gpu else "cpu"
        self.model = FusionModel(parse_checkpoint(checkpoint, "checkpoint"), device, precision=precision, tiles=tiles)
        self.texts = {key: torch.tensor(text) for key, text in texts.items()}
        self.metrics = metrics
        self.guide = guide or Guide()
        self.memory = DeviceMemory() if on_gpu else None
        self.pairs_a_pass: dict[Size, int] = {}
        """How many pairs of a size fit into a pass, as far as that is known."""
        self.passes = ThreadPoolExecutor(PASSES_AT_ONCE_GPU, "pass", _choose_stream, (threads,)) if on_gpu else None
        self._warm_up()

    def __call__(self, pairs: pa.Table) -> pa.Table:
        """Fuse a block, grouped by size so that a forward pass is as full as it can be."""
        rows = pairs.to_pylist()
        groups: dict[Size, Rows] = defaultdict(list)
        for row in rows:
            if row["error_code"] is None:
                groups[row["a"]["height"], row["a"]["width"]].append(row)
        batches = [batch for size, group in groups.items() for batch in self._batches(size, group)]
        # Waits for all and raises what one of them raises.
        deque(self.passes.map(self._fuse_group, batches) if self.passes else map(self._fuse_group, batches), maxlen=0)
        return pa.Table.from_pylist(rows, fused_schema(self.metrics))

    def _batches(self, size: Size, group: Rows) -> Iterator[Rows]:
        """Cut pairs of one size into passes; where nobody knows how many fit, a pair is fused alone to see."""
        while self.memory and group and size not in self.pairs_a_pass:
            probe, group = group[:1], group[1:]
            a_pair = self.memory.most_during(partial(self._fuse_group, probe))
            if probe[0]["error_code"] is None:
                self.pairs_a_pass[size] = fitting(self.memory.free(), a_pair, PASSES_AT_ONCE_GPU)
        # Several passes of a block overlap; a single one, however large, leaves the device waiting at its ends.
        count = min(self.pairs_a_pass.get(size, 1), -(-len(group) // PASSES_AT_ONCE_GPU))
        for start in range(0, len(group), max(1, count)):
            yield group[start : start + max(1, count)]

    def _fuse_group(self, rows: Rows) -> None:
        """Fuse pairs of one size; where that fails, fewer at a time, so that only the culprit fails."""
        failure = self._try_fuse(rows)
        if failure is None:
            return
        if len(rows) == 1:
            fail(rows[0], *failure)
            return
        # Here, and not where the error was caught: it holds the memory of what was tried.
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
        """Fuse pairs of one size, or return the code and the sentence of what went wrong."""
        try:
            self._fuse(rows)
        except Exception as error:
            code = "out_of_memory" if is_out_of_memory(error) else "fuse_failed"
            if code == "fuse_failed" and "CUDA error" in str(error):
                raise  # The device is lost to this process: no pair's fault, and all that follow would fail.
            return code, f"{size_of(rows[0]['a'])}: {type(error).__name__}: {error}"
        return None

    def _fuse(self, rows: Rows) -> None:
        started = time.perf_counter()
        a = [unpack_image(row["a"]) for row in rows]
        b = [unpack_image(row["b"]) for row in rows]
        text_BT = torch.stack([self.texts[row["task"], row["prompt"]] for row in rows])
        balances, colors = [self.guide.balance_of(row) for row in rows], [self.guide.color_of(row) for row in rows]
        fused = self.model.fuse_batch(a, b, text_BT, balances, colors)
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

    def _warm_up(self) -> None:
        """Fuse a pair that nobody has asked for: what a device does once is not to count for the first pairs."""
        pixels = np.random.default_rng(0).integers(0, 256, (WARM_UP_SIDE, WARM_UP_SIDE), np.uint8)
        text_BT = torch.zeros(1, self.model.checkpoint.config.text_dim)
        # What goes wrong here goes wrong again, and then in a row that says so.
        with suppress(Exception):
            fused = self.model.fuse_batch([pixels], [pixels], text_BT)
            measure(self.luma8_of([pixels]), self.luma8_of([pixels]), self.luma8_of(fused), self.metrics)
        if self.memory:
            torch.cuda.synchronize()  # other streams take the weights as they are

    def _note_on_tiles(self, fused: Pixels) -> str | None:
        tiles = self.model.tiles
        if tiles is None or not tiles.needed(*fused.shape[:2]):
            return None
        return f"fused in tiles of {tiles.side} pixels that share {tiles.overlap}"

    def luma8_of(self, images: Iterable[Pixels]) -> torch.Tensor:
        """Return the luma `(N, 1, H, W)` of some images of one size, 0..255, on this copy's device."""
        return torch.stack([luma8(send(image, self.model.device)) for image in images])[:, None]


def _choose_stream(threads: int) -> None:
    torch.set_num_threads(threads)
    torch.cuda.set_stream(torch.cuda.Stream())


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
