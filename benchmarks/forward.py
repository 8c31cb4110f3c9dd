"""Time of one forward pass, beside a literal translation of the paper (literal.py) with the same weights.

    python benchmarks/forward.py [PRESET@HEIGHTxWIDTH ...]

On a CPU one thread computes in fp32, by default `paper` at 192x192 and `tiny` at two larger ones: about four minutes.
On a GPU bf16 autocast and torch.compile are timed too, at all sizes. Both networks take turns, so that whatever
else the machine does slows both. The order of channels in SCPM and TCPM decides the output and rounding must not
decide the order: the random weights are drawn so that channels differ, and both networks must agree in float64.

On a CPU most of the difference is page faults of large tensors. An allocator that keeps such memory spares the
literal network most of them: with MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ at 4 GB `paper` was only 0.9 to
1.2 times as fast as literal, instead of 1.5 to 1.7 times.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from literal import LiteralUPFusion
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from upfusion.network import UPFusion
from upfusion.presets import PRESETS

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
CASES = ["paper@192x192", "tiny@480x640", "tiny@1024x1280"]
GPU_CASES = [*CASES, "tiny@192x192", "paper@480x640"]
REPEATS = 20 if GPU else 3
COLUMNS = ("preset", "size", "precision", "GFLOP", "literal s", "ours s", "times as fast", "difference", "peak MiB")


def main() -> None:
    """Time every case and print one table."""
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    table = Table(*COLUMNS, caption="difference: to literal in fp32, largest, as a share of the largest output")
    with torch.inference_mode():
        for case in sys.argv[1:] or (GPU_CASES if GPU else CASES):
            for row in _measure(*case.split("@")):
                table.add_row(*row)
    Console(width=120).print(torch.cuda.get_device_name() if GPU else "CPU, one thread", table)


def _measure(preset: str, size: str) -> Iterator[tuple[str, ...]]:
    network = _network(preset)
    literal = LiteralUPFusion(network)
    height, width = map(int, size.split("x"))
    inputs = [*torch.rand(2, 1, 1, height, width), torch.randn(1, network.config.text_dim)]
    with FlopCounterMode(display=False) as flops:
        network(*inputs)
    network, literal, inputs = network.to(DEVICE), literal.to(DEVICE), [x.to(DEVICE) for x in inputs]
    reference = literal(*inputs)
    for precision in ("fp32", "bf16", "bf16 compiled") if GPU else ("fp32",):
        ours: Any = torch.compile(network) if "compiled" in precision else network
        with torch.autocast("cuda", torch.bfloat16) if "bf16" in precision else nullcontext():
            difference = _difference(ours(*inputs), reference)
            literal_s, ours_s, ratio = _take_turns(lambda: literal(*inputs), lambda run=ours: run(*inputs))
            peak = _peak_mebibytes(lambda run=ours: run(*inputs)) if GPU else "-"
        figures = f"{literal_s:.4f}", f"{ours_s:.4f}", f"{ratio:.2f}", f"{difference:.1e}", peak
        yield (preset, size, precision, f"{flops.get_total_flops() / 1e9:.1f}", *figures)
    # Only now: the memory that it leaves behind would spare the literal network a third of its time.
    exact, doubles = network.double(), [x.double() for x in inputs]
    assert _difference(exact(*doubles), LiteralUPFusion(exact)(*doubles)) < 1e-5, "ours and literal are not the same"


def _network(preset: str) -> UPFusion:
    torch.manual_seed(0)
    network = UPFusion(PRESETS[preset]).eval()
    # As they are drawn, some of hundreds of channels weigh the same to 1e-7; here each has a rank of its own.
    _rank(network.scpm.excite.bias, 0.1)
    for tcpm in network.tcpm:
        _rank(tcpm.excite.weight, 1 / len(tcpm.excite.weight))
        _rank(tcpm.text_weight.bias, 1.0)
    return network


def _rank(parameter: Tensor, step: float) -> None:
    rank = step * torch.randperm(len(parameter)).float()
    parameter.copy_(rank.view(-1, *[1] * (parameter.ndim - 1)).expand_as(parameter))


def _difference(value: Tensor, reference: Tensor) -> float:
    return ((value - reference).abs().max() / reference.abs().max()).item()


def _take_turns(literal: Callable[[], Tensor], ours: Callable[[], Tensor]) -> tuple[float, float, float]:
    """Return the median seconds of each and the median of their ratios."""
    _seconds(literal), _seconds(ours)
    pairs = [(_seconds(literal), _seconds(ours)) for _ in range(REPEATS)]
    literal_s, ours_s = zip(*pairs, strict=True)
    return statistics.median(literal_s), statistics.median(ours_s), statistics.median(a / b for a, b in pairs)


def _seconds(function: Callable[[], Tensor]) -> float:
    began = time.perf_counter()
    function()
    if GPU:
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _peak_mebibytes(function: Callable[[], Tensor]) -> str:
    torch.cuda.reset_peak_memory_stats()
    function()
    return f"{torch.cuda.max_memory_allocated() / 2**20:.0f}"


if __name__ == "__main__":
    main()
