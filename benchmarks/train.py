"""The training job against a bare PyTorch loop: samples/s with the same network, batch and threads.

    python benchmarks/train.py [STEPS]

The loop has its crops in memory and does nothing but steps; the job reads files, crops, reports and writes
checkpoints. They take turns, because the speed of a machine changes; only the ratio says something.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import torch

from pipelines.cluster.ray_cluster import Cluster
from pipelines.demo.street import write_archive
from pipelines.train.callback import Report
from pipelines.train.config import TrainConfig
from pipelines.train.job import Listener, plan_train, train
from upfusion.create import create_checkpoint
from upfusion.learner import Batch, Learner

BATCH, CROP, LOG_EVERY, PAIRS, TURNS = 8, 96, 10, 24, 2


class Speed(Listener):
    """Adds up crops and seconds of all reports but the first, in which everything is still cold."""

    def __init__(self) -> None:
        self.crops = self.seconds = 0.0
        self.first = True

    def on_report(self, report: Report) -> None:
        if "loss" in report and not self.first:
            self.crops += LOG_EVERY * BATCH
            self.seconds += LOG_EVERY * BATCH / report["samples_per_second"]
        self.first = False


def main() -> None:
    """Let both take turns and print the ratio of their speeds."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    bare: list[float] = []
    job: list[float] = []
    with tempfile.TemporaryDirectory() as name, Cluster():
        folder = Path(name)
        write_archive(folder / "pairs", PAIRS)
        for turn in range(TURNS):
            bare.append(_time_loop(steps))
            job.append(_time_job(folder, steps, turn))
            print(f"loop {bare[-1]:.2f}, job {job[-1]:.2f} samples/s", flush=True)
    print(f"preset tiny, {BATCH} crops of {CROP}x{CROP}, {steps} steps each, on {_cores()} cores")
    print(f"the job makes {sum(job) / sum(bare):.0%} of the loop's samples/s")


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _config(folder: Path, steps: int, turn: int) -> TrainConfig:
    return TrainConfig(
        data=(str(folder / "pairs"),),
        out=str(folder / f"run{turn}"),
        epochs=steps * BATCH / PAIRS,
        batch=BATCH,
        crop=CROP,
        structure=1.0,
        val_share=0.0,
        log_every=LOG_EVERY,
        checkpoint_every=50,
        no_tracking=True,
    )


def _time_loop(steps: int) -> float:
    torch.set_num_threads(_cores())
    recipe = _config(Path(), steps, 0).recipe(steps)
    start = create_checkpoint("tiny")
    learner = Learner(start.build_network(), recipe)
    text = torch.stack([start.prompts["ir_visible"].embedding] * BATCH)
    batch = Batch(torch.rand(BATCH, 1, CROP, CROP), torch.rand(BATCH, 1, CROP, CROP), text)
    for _ in range(LOG_EVERY):
        learner.learn([batch])
    began = time.perf_counter()
    for _ in range(steps - LOG_EVERY):
        learner.learn([batch])
    return (steps - LOG_EVERY) * BATCH / (time.perf_counter() - began)


def _time_job(folder: Path, steps: int, turn: int) -> float:
    speed = Speed()
    train(plan_train(_config(folder, steps, turn)), speed)
    return speed.crops / speed.seconds


if __name__ == "__main__":
    main()
