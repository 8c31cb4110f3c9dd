"""What the benchmarks of jobs share: an archive of any size, a plan, and the steady part of a run.

Pairs are hard links to a few drawn ones. The steady part is from the first tenth of the rows to the ninth: starting
Ray, PyTorch and the copies of the network is left out, and so is the end, when copies wait for the last one. Its speed
is the slope of a line through what was done at which moment.
"""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.compute as pc
import pyarrow.dataset
from PIL import Image

from pipelines.cluster.runner import Progress
from pipelines.demo.street import draw_pair
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.plan import Plan, plan_fuse

DRAWN = 16
MEASURED = (0.1, 0.9)
STAGES = ("fetch", "decode", "fuse", "measure", "encode")
FULL = 0.9
"""Share of the time from which on a processor is what limits a job."""


class Timeline:
    """Which share of the rows was done at which moment."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, int]] = []
        self.spent: list[tuple[int, float]] = []
        """Rows done and seconds of CPU that all processes had taken, as the steady part began and ended."""

    def hear(self, progress: Progress) -> None:
        """Take note."""
        self.seen.append((time.monotonic(), progress.done))
        if len(self.spent) < 2 and progress.done >= MEASURED[len(self.spent)] * progress.total:
            self.spent.append((progress.done, cpu_seconds()))

    @property
    def seconds(self) -> float:
        """From the start of the graph to its end."""
        return self.seen[-1][0] - self.seen[0][0]

    @property
    def blocks(self) -> int:
        """How many blocks were written."""
        return len(self.seen) - 1

    def cpu(self) -> float:
        """Milliseconds of CPU a row in the steady part, of everything that runs for the job.

        Other work on the machine changes it less than it changes seconds.
        """
        (first, before), (last, after) = self.spent
        return 1000 * (after - before) / (last - first)

    @property
    def steady(self) -> list[tuple[float, int]]:
        """Moments of the steady part and how many rows were done by then."""
        total = self.seen[-1][1]
        return [one for one in self.seen if MEASURED[0] * total <= one[1] <= MEASURED[1] * total]

    def rate(self) -> float:
        """Rows/s in the steady part."""
        moments, done = np.array(self.steady).T
        return float(np.polyfit(moments - moments[0], done, 1)[0])


def make_archive(folder: Path, count: int, size: tuple[int, int], form: str = "png") -> Path:
    """Lay out pairs of a size, all of them links to a few drawn ones."""
    drawn = folder.with_name(f"drawn-{size[0]}-{form}")
    for number in range(0 if drawn.exists() else DRAWN):
        # Drawn at a size that the scene is made for.
        pair = draw_pair(np.random.default_rng([0, number]), 640, 480)
        for sensor, pixels in zip(("visible", "infrared"), pair, strict=True):
            (drawn / sensor).mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(pixels).resize(size)
            # A grey bitmap has a palette, which Pillow takes longer to read than all pixels.
            (image.convert("RGB") if form == "bmp" else image).save(drawn / sensor / f"{number}.{form}")
    for sensor in ("visible", "infrared"):
        (folder / sensor).mkdir(parents=True)
        for number in range(count):
            os.link(drawn / sensor / f"{number % DRAWN}.{form}", folder / sensor / f"{number:07d}.{form}")
    return folder


def cpu_seconds() -> float:
    """Return what this process and all that it has started have taken of the CPU."""
    total = 0.0
    for one in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            times = one.cpu_times()
        except psutil.Error:  # it has ended meanwhile
            continue
        # What has ended is counted with whoever waited for its end.
        total += times.user + times.system + times.children_user + times.children_system
    return total


def mean_stages(out: Path) -> dict[str, float]:
    """Return the milliseconds per pair of each stage, as rows have them; on GPUs concurrent passes overlap."""
    rows = pyarrow.dataset.dataset(out / "pairs").to_table(columns=[f"{stage}_ms" for stage in STAGES])
    return {stage: pc.mean(rows[f"{stage}_ms"]).as_py() or 0.0 for stage in STAGES}


def say_what_saturates(rate: float, cpu: float, cores: int, stages: dict[str, float], gpu: float | None = None) -> str:
    """Say how busy CPUs and GPU are, which of them is full first, and which stage of the pairs it is full with.

    `rate` is pairs/s, `cpu` milliseconds of CPU per pair, `gpu` the share of the time that the GPU computed.
    """
    busy = {"CPUs": rate * cpu / 1000 / cores} | ({} if gpu is None else {"GPU": gpu})
    fullest = max(busy, key=lambda part: busy[part])
    on_gpu = ("fuse", "measure") if gpu is not None else ()
    there = {name: spent for name, spent in stages.items() if (name in on_gpu) == (fullest == "GPU")}
    largest = max(there, key=lambda name: there[name])
    shares = ", ".join(f"{part} busy {share:.0%}" for part, share in busy.items())
    spent = ", ".join(f"{name} {milliseconds:.1f}" for name, milliseconds in stages.items())
    full = "saturated first" if busy[fullest] >= FULL else "fullest, and not full"
    return f"{shares}: {fullest} {full}, most of it with {largest}; ms per pair in its stages: {spent}"


def plan_job(source: Path, out: Path, **settings: Any) -> Plan:
    """Plan a job without metrics and tracking."""
    return plan_fuse(FuseConfig(source=str(source), out=str(out), metrics="none", no_tracking=True, **settings))
