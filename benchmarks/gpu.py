"""How fast networks are on a GPU, alone and in the fuse job, and how busy the job keeps it.

    python benchmarks/gpu.py [--seconds S] [--copies N[,N]] [PRESET@WIDTHxHEIGHT@PRECISION ...]

A figure of the job takes S seconds (30 by default) and the start of its workers; all cases take about half an hour.

    network    the network alone, its tensors on the GPU already
    loop       `FusionModel.fuse_batch` in one thread, pixels in memory before and after; both in the passes that suit
               the loop best, found by doubling
    job        pairs from files to files, in the steady part (steady.py), with N copies on the GPU (1,2 by default);
               how busy GPU and CPUs are, and which of them, with which stage, is saturated first

`base` and `paper` have random weights, which cost the same.
"""

import argparse
import itertools
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from steady import Timeline, make_archive, mean_stages, plan_job, say_what_saturates
from torch import Tensor

from pipelines.cluster.ray_cluster import Cluster
from pipelines.demo.street import draw_pair
from pipelines.fuse.job import fuse
from upfusion.checkpoint import EMBEDDED, Checkpoint, Prompt, parse_checkpoint
from upfusion.color import Pixels
from upfusion.model import FusionModel
from upfusion.network import UPFusion
from upfusion.presets import PRESETS

PRESETS_TIMED, SIZES, PRECISIONS = ("tiny", "base", "paper"), ("640x480", "1280x1024"), ("fp32", "bf16")
CASES = ["@".join(case) for case in itertools.product(PRESETS_TIMED, SIZES, PRECISIONS)]
FEWEST_PAIRS = 64
CORES = len(os.sched_getaffinity(0))


def main() -> None:
    """Measure the cases that were asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--copies", type=lambda text: [int(n) for n in text.split(",") if int(n)], default=[1, 2])
    parser.add_argument("cases", nargs="*", default=CASES, metavar="PRESET@WIDTHxHEIGHT@PRECISION")
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here: left out")
        return
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    with tempfile.TemporaryDirectory(prefix="upfusion-") as folder, Cluster():
        for case in asked.cases:
            for line in _measure(case, Path(folder), asked.seconds, asked.copies):
                print(f"  {case}: {line}", flush=True)


def _measure(case: str, folder: Path, seconds: float, copies_on_gpu: list[int]) -> Iterator[str]:
    preset, sides, precision = case.split("@")
    width, height = map(int, sides.split("x"))
    checkpoint = any_checkpoint(preset)
    bare = Bare(checkpoint, (width, height), precision)
    loop, count = bare.fastest(seconds / 20)
    network = bare.network(count, seconds / 20)
    off = np.abs(bare.fuse(1)[0].astype(int) - Bare(checkpoint, (width, height), "fp32").fuse(1)[0])
    yield (
        f"network {network:.1f} pairs/s, loop {loop:.1f} in passes of {count}; "
        f"to fp32 at most {off.max()} grey levels, {off.mean():.4f} on average"
    )
    del bare
    torch.cuda.empty_cache()
    path, source = folder / f"{preset}.safetensors", folder / f"in-{width}"
    path.write_bytes(checkpoint.to_bytes())
    shutil.rmtree(source, ignore_errors=True)
    make_archive(source, max(FEWEST_PAIRS, int(loop * seconds)), (width, height))
    for copies in copies_on_gpu:
        job = _run_job(source, folder / "out", path, precision, copies)
        yield f"job, {copies} on the GPU: {job.said(loop)}"


class Bare:
    """A network on a GPU, and a pair of one size."""

    def __init__(self, checkpoint: Checkpoint, size: tuple[int, int], precision: Any) -> None:
        self.model = FusionModel(checkpoint, "cuda", precision=precision)
        self.text_BT = self.model.guidance.embed("ir_visible", None)[None]
        pair = draw_pair(np.random.default_rng([0, 0]), 640, 480)
        self.a, self.b = (np.asarray(Image.fromarray(image).resize(size)) for image in pair)

    def fuse(self, count: int) -> list[Pixels]:
        """Fuse so many pairs in one pass, from pixels to pixels."""
        return self.model.fuse_batch([self.a] * count, [self.b] * count, self.text_BT.expand(count, -1))

    def fastest(self, seconds: float) -> tuple[float, int]:
        """Return pairs/s of the loop in the passes that suit it best, and how many pairs those hold."""
        best, best_count, count = 0.0, 1, 1
        while True:
            try:
                rate = _pairs_a_second(lambda n=count: self.fuse(n), count, seconds)
            except torch.OutOfMemoryError:
                return best, best_count
            if rate < 1.03 * best:
                return best, best_count
            best, best_count, count = rate, count, 2 * count

    def network(self, count: int, seconds: float) -> float:
        """Return pairs/s of the network alone."""
        lumas = self._lumas(count)
        return _pairs_a_second(lambda: self.model.fuse_lumas(*lumas), count, seconds)

    def _lumas(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        height, width = self.a.shape[:2]
        lumas = torch.rand(2, count, 1, height, width, device="cuda")
        return lumas[0], lumas[1], self.text_BT.expand(count, -1).cuda()


def any_checkpoint(preset: str) -> Checkpoint:
    """Return a preset with the weights that ship or, for its speed alone, random ones."""
    tiny = parse_checkpoint((EMBEDDED / "tiny.safetensors").read_bytes(), "tiny")
    if preset == "tiny":
        return tiny
    torch.manual_seed(0)
    config = PRESETS[preset]
    prompts = {name: Prompt(prompt.text, torch.randn(config.text_dim)) for name, prompt in tiny.prompts.items()}
    weights = UPFusion(config).state_dict()
    return replace(tiny, name=preset, config=config, weights=weights, prompts=prompts)


def _pairs_a_second(fuse_some: Callable[[], object], count: int, seconds: float) -> float:
    fuse_some()
    torch.cuda.synchronize()
    started, done = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        fuse_some()
        torch.cuda.synchronize()
        done += count
    return done / (time.monotonic() - started)


@dataclass(frozen=True)
class _Job:
    rate: float
    busy: float
    cpu: float
    stages: dict[str, float]

    def said(self, loop: float) -> str:
        share = f"{self.rate:.1f} pairs/s, {self.rate / loop:.0%} of the loop, {self.cpu:.0f} ms of CPU per pair"
        return f"{share}; {say_what_saturates(self.rate, self.cpu, CORES, self.stages, self.busy)}"


def _run_job(source: Path, out: Path, model: Path, precision: Any, copies: int) -> _Job:
    """Run a job and return pairs/s in its steady part, and the share of that time the GPU was computing."""
    shutil.rmtree(out, ignore_errors=True)
    timeline = Timeline()
    with _watching_gpu() as busy:
        fuse(plan_job(source, out, model=str(model), precision=precision, gpus_per_actor=1 / copies), timeline.hear)
    first, last = timeline.steady[0][0], timeline.steady[-1][0]
    shares = [share for moment, share in busy if first <= moment <= last]
    return _Job(timeline.rate(), float(np.mean(shares)) if shares else float("nan"), timeline.cpu(), mean_stages(out))


@contextmanager
def _watching_gpu() -> Iterator[list[tuple[float, float]]]:
    """Ask the driver five times a second for which share of its last sixth of a second the GPU computed."""
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200"]
    seen: list[tuple[float, float]] = []
    asked = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def listen() -> None:
        seen.extend((time.monotonic(), float(line) / 100) for line in asked.stdout or ())

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        asked.terminate()
        thread.join()


if __name__ == "__main__":
    main()
