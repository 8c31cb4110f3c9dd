"""The data loader: threads fetch, decode and crop ahead for one worker of a training run.

Shape suffixes: H height, W width.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from pipelines.errors.failures import Row
from pipelines.train.crops import Crop, CropRules, EpochSampler
from pipelines.train.disk_cache import GIGABYTE
from pipelines.train.prepared import PairReader
from upfusion.color import luma

STEPS_AHEAD = 4

# Half of the memory of float32, and an eighth of a grey level is far below the noise of any camera.
Lumas = tuple[NDArray[np.float16], NDArray[np.float16]]


@dataclass(frozen=True)
class Sample:
    """A crop and its pair."""

    crop: Crop
    pair: Row
    number: int
    """Of the crop in the run: what is drawn for it follows from this."""


class LumaCache:
    """An LRU cache of decoded pairs in memory, with a size limit."""

    def __init__(self, pairs: PairReader, gigabytes: float) -> None:
        self._pairs = pairs
        self._limit = int(gigabytes * GIGABYTE)
        self._held: OrderedDict[str, Lumas] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def read(self, pair: Row) -> Lumas:
        """Return the lumas `(H, W)` of both sources in [0, 1]; raises OSError or ImageError naming the file."""
        name = pair["pair_id"]
        with self._lock:
            if name in self._held:
                self._held.move_to_end(name)
                return self._held[name]
        a, b = self._pairs.read(pair)
        lumas = luma(a).astype(np.float16), luma(b).astype(np.float16)
        with self._lock:
            if name not in self._held:
                self._held[name] = lumas
                self._size += _bytes_of(lumas)
            while self._size > self._limit:
                self._size -= _bytes_of(self._held.popitem(last=False)[1])
        return lumas


class CropLoader:
    """Yields a worker's share of every step's crops, prefetched by threads."""

    def __init__(self, pairs: Sequence[Row], rules: CropRules, batch: int, lumas: LumaCache, threads: int) -> None:
        self._pairs = pairs
        self._rules = rules
        self._batch = batch
        self._lumas = lumas
        self._threads = threads
        self._order = EpochSampler([pair["weight"] for pair in pairs], rules.seed)

    def steps(self, first: int, last: int, rank: int, workers: int) -> Iterator[list[Sample]]:
        """Yield the samples of one rank, one list per step.

        All ranks together draw the same crops whatever their number: step s has the crops from s * batch on, cut
        into as many runs as there are workers.
        """
        share = range(rank * self._batch // workers, (rank + 1) * self._batch // workers)
        with ThreadPoolExecutor(self._threads, thread_name_prefix="crops") as pool:
            ahead: deque[list[Future[Sample]]] = deque()
            requested = first
            try:
                for _ in range(first, last):
                    while requested < last and len(ahead) <= STEPS_AHEAD:
                        numbers = [requested * self._batch + slot for slot in share]
                        # The order is looked up here, on one thread: it holds one epoch at a time.
                        ahead.append([pool.submit(self._sample, self._order[n], n) for n in numbers])
                        requested += 1
                    yield [future.result() for future in ahead.popleft()]
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _sample(self, index: int, number: int) -> Sample:
        pair = self._pairs[index]
        a_HW, b_HW = self._lumas.read(pair)
        if (other := self._rules.other_pair(number, len(self._pairs))) is not None:
            b_HW = self._lumas.read(self._pairs[other])[1]
        return Sample(self._rules.draw(a_HW, b_HW, number), pair, number)


def _bytes_of(lumas: Lumas) -> int:
    return sum(luma_HW.nbytes for luma_HW in lumas)
