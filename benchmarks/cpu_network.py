"""The networks that ship on one CPU core, in units of a dense 32-to-32 3x3 convolution at 240x320.

    python benchmarks/cpu_network.py

A unit is what the same core takes for that convolution in the same minute (the two take turns), so that figures of
machines compare. Time is that of the whole forward pass on two lumas; memory is that of a process that loads a model
and fuses one pair. Half a minute.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import upfusion

SIZES = ((480, 640), (1024, 1280))
ROUNDS, WARM_UP = 9, 3
MEMORY_OF = "memory-of"


def main() -> None:
    """Time every model and size and print one table."""
    if sys.argv[1:2] == [MEMORY_OF]:
        print(_peak_mib(*sys.argv[2:]))
        return
    torch.set_num_threads(1)
    table = Table("model", "size", "ms", "units", "units per 480x640 pixels", "peak MiB, with model alone")
    convolution, features = nn.Conv2d(32, 32, 3, padding=1).eval(), torch.rand(1, 32, 240, 320)
    measured: dict[tuple[str, int, int], list[float]] = {}
    with torch.inference_mode():
        for name in ("tiny", "nano"):
            model = upfusion.load(name)
            text_BT = model.guidance.embed("ir_visible")[None]
            balance_B = torch.zeros(1)
            for height, width in SIZES:
                lumas = [torch.rand(1, 1, height, width) for _ in range(2)]
                passes = partial(model.network, *lumas, text_BT, balance_B), partial(convolution, features)
                measured[name, height, width] = _alternating(*passes)
    # Beside some passes the allocator gives memory back after each turn, and half of a unit is page faults.
    unit = min(unit for _, unit in measured.values())
    for (name, height, width), (ours, _) in measured.items():
        units = ours / unit
        before, peak = (_child(name, *size) for size in (("0", "0"), (str(height), str(width))))
        cells = f"{ours * 1e3:.0f}", f"{units:.1f}", f"{units * 480 * 640 / (height * width):.1f}", f"{peak}, {before}"
        table.add_row(name, f"{width}x{height}", *cells)
    Console(width=120).print(f"a unit: {unit * 1e3:.1f} ms", table)


def _alternating(*functions: Callable[[], object]) -> list[float]:
    """Return the median seconds of each function, called in turn."""
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(ROUNDS + WARM_UP):
        for function, own in zip(functions, times, strict=True):
            began = time.perf_counter()
            function()
            if turn >= WARM_UP:
                own.append(time.perf_counter() - began)
    return [statistics.median(own) for own in times]


def _child(name: str, height: str, width: str) -> int:
    command = [sys.executable, __file__, MEMORY_OF, name, height, width]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _peak_mib(name: str, height: str, width: str) -> int:
    torch.set_num_threads(1)
    model = upfusion.load(name)
    if shape := (int(height), int(width)) if int(height) else None:
        a, b = ((torch.rand(shape) * 255).byte().numpy() for _ in range(2))
        model.fuse(a, b)
    # Not ru_maxrss, which a process inherits from the one that started it.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) >> 10


if __name__ == "__main__":
    main()
