"""Runtimes on a CPU: the network alone and the whole job, `python benchmarks/runtimes.py [--pairs 24]`.

The network alone is timed in turns, one thread, 640x480, so that a busy machine slows all of them alike; CPU time is
what the process used. The job fuses drawn pairs, PNG to PNG, without metrics, in one process with all CPUs.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from pipelines.archive.schema import Discovery
from pipelines.demo.street import draw_pair
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.job import fuse
from pipelines.fuse.plan import plan_fuse
from upfusion.color import luma
from upfusion.images import encode_image
from upfusion.model import load

RUNTIMES = ("torch", "onnxruntime", "openvino")
SIZE = (640, 480)
ROUNDS = 9


def main() -> None:
    """Measure both models in every runtime."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=24)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        draw_archive(Path(folder) / "in", given.pairs)
        for name in ("tiny", "nano"):
            measure_network(name)
        for name in ("tiny", "nano"):
            measure_job(name, Path(folder), given.pairs)


def measure_network(name: str) -> None:
    """Time one pair after the other, runtime by runtime, and compare with PyTorch."""
    drawn = draw_pair(np.random.default_rng(0), *SIZE)
    a, b = (torch.from_numpy(luma(image))[None, None] for image in drawn)
    runs: dict[str, Callable[[], torch.Tensor]] = {}
    for runtime in RUNTIMES:
        model = load(name, "cpu", runtime=runtime)
        text_BT = model.guidance.embed("ir_visible")[None]
        runs[runtime] = lambda model=model, text_BT=text_BT: model.fuse_lumas(a, b, text_BT)
    expected = runs["torch"]()
    seconds: dict[str, list[tuple[float, float]]] = {runtime: [] for runtime in runs}
    for _ in range(ROUNDS):
        for runtime, run in runs.items():
            began = time.perf_counter(), time.process_time()
            fused = run()
            seconds[runtime].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    for runtime, run in runs.items():
        fused = run()
        wall, cpu = np.median(seconds[runtime], axis=0)
        difference = float((fused - expected).abs().max()) * 255
        print(
            f"{name} {runtime:12s} network alone, one thread: {1 / wall:5.1f} pairs/s, {1000 * cpu:4.0f} ms of CPU per "
            f"pair; differs from torch by at most {difference:.4f} levels",
            flush=True,
        )


def measure_job(name: str, folder: Path, pairs: int) -> None:
    """Run the whole job in every runtime."""
    found: Discovery | None = None
    for runtime in RUNTIMES:
        out = folder / f"{name}-{runtime}"
        config = FuseConfig(
            source=str(folder / "in"),
            out=str(out),
            model=name,
            runtime=runtime,
            metrics="none",
            images="files",
            runner="inline",
            gpus_per_actor=0,
            no_tracking=True,
        )
        plan = plan_fuse(config, found)
        found = plan.found
        began = time.perf_counter(), time.process_time()
        outcome = fuse(plan)
        wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
        assert outcome.ok == pairs
        print(
            f"{name} {runtime:12s} whole job, PNG to PNG: {pairs / wall:5.1f} pairs/s, {1000 * cpu / pairs:4.0f} ms of "
            "CPU per pair",
            flush=True,
        )


def draw_archive(folder: Path, pairs: int) -> None:
    """Write drawn pairs; a few streets, shifted, because drawing takes long."""
    streets = [draw_pair(np.random.default_rng(seed), *SIZE) for seed in range(3)]
    for number in range(pairs):
        for sensor, image in zip(("visible", "infrared"), streets[number % len(streets)], strict=True):
            path = folder / sensor / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_image(np.ascontiguousarray(np.roll(image, 7 * number, axis=1)), "png"))


if __name__ == "__main__":
    main()
