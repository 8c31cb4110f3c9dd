"""What each metric costs on one thread, and how far float32 is from float64.

    python benchmarks/metrics.py

Draws a street at night in two sizes, fuses it with `tiny` and measures the result. Times are the least of several
runs, in seconds of processor time, which other programs on the machine change less than the clock's. The original
code of `qp` needs 3.7 s in Octave for a pair of 640x480.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import upfusion
from pipelines.demo.street import draw_pair
from upfusion.color import luma8
from upfusion.metrics import DEFAULT_METRICS, METRICS, measure

SIZES = ((640, 480), (1280, 1024))
RUNS = 5


@dataclass(frozen=True)
class Street:
    """A fused pair as luma in float32, and what fusing it took."""

    images: Sequence[Tensor]
    fusing: float

    def seconds(self, names: Sequence[str]) -> float:
        """To measure the pair with some metrics together."""
        return _least_seconds(lambda: measure(*self.images, names))

    def error(self, name: str) -> float:
        """Relative difference of a metric in float32 from the same in float64."""
        (single,) = measure(*self.images, [name])[name]
        (exact,) = measure(*(image.double() for image in self.images), [name])[name]
        return abs(single - exact) / abs(exact) if single is not None and exact else float("nan")


def main() -> None:
    """Measure, and print one table."""
    torch.set_num_threads(1)
    streets = [_draw(width, height) for width, height in SIZES]
    print("| | " + " | ".join(f"{width}x{height}, s" for width, height in SIZES) + " | float32 |")
    print("|---|--:|--:|--:|")
    for name in METRICS:
        times = [street.seconds([name]) for street in streets]
        _print_row(f"`{name}`", times, f"{max(street.error(name) for street in streets):.0e}")
    _print_row("the default set together", [street.seconds(DEFAULT_METRICS) for street in streets])
    _print_row("`tiny` fuses the pair", [street.fusing for street in streets])


def _draw(width: int, height: int) -> Street:
    visible, infrared = draw_pair(np.random.default_rng(0), width, height)
    model = upfusion.load("tiny", device="cpu")
    fusing = _least_seconds(lambda: model.fuse(visible, infrared))
    sources = (visible, infrared, model.fuse(visible, infrared))
    return Street([torch.from_numpy(luma8(image))[None, None] for image in sources], fusing)


def _least_seconds(run: Callable[[], object]) -> float:
    run()
    least = float("inf")
    for _ in range(RUNS):
        began = time.process_time()
        run()
        least = min(least, time.process_time() - began)
    return least


def _print_row(title: str, times: Sequence[float], error: str = "") -> None:
    print(f"| {title} | " + " | ".join(f"{seconds:.3f}" for seconds in times) + f" | {error} |", flush=True)


if __name__ == "__main__":
    main()
