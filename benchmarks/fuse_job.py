"""Peak memory of a local fuse job on 1280x1024 pairs, and where its wall time goes.

    python benchmarks/fuse_job.py [PAIRS]

Runs the console command as a user does, in a process of its own, and adds up the proportional memory (PSS) of
that process and everything it starts. Times are shares of one run: absolute ones depend on the machine.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.dataset
from PIL import Image

from pipelines.demo.street import draw_pair

WIDTH, HEIGHT = 1280, 1024
STAGES = ("fetch", "decode", "fuse", "measure", "encode")


def main() -> None:
    """Draw the pairs, fuse them and print the figures."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 24
    with tempfile.TemporaryDirectory() as folder:
        _draw(Path(folder) / "archive", pairs)
        seconds, memory = _run(Path(folder))
        rows = pyarrow.dataset.dataset(str(Path(folder) / "fused" / "pairs")).to_table(
            columns=[f"{stage}_ms" for stage in STAGES]
        )
    cores = len(psutil.Process().cpu_affinity())
    spent = {stage: rows[f"{stage}_ms"].to_numpy().sum() / 1000 for stage in STAGES}
    print(f"{pairs} pairs of {WIDTH}x{HEIGHT} on {cores} cores: {seconds:.0f} s with start-up and report")
    print(f"peak memory of all processes: {memory / 2**30:.2f} GiB")
    for stage, value in spent.items():
        print(f"  {stage:8s} {value / pairs:6.2f} s per pair, {value / sum(spent.values()):4.0%} of the stages' time")
    # Actors run on every core, so the network could at most have had all of them all the time.
    print(f"share of wall time outside the network: {1 - spent['fuse'] / (seconds * cores):.0%}")


def _draw(archive: Path, pairs: int) -> None:
    for number in range(pairs):
        visible, infrared = draw_pair(np.random.default_rng([0, number]), WIDTH, HEIGHT)
        for sensor, pixels in (("visible", visible), ("infrared", infrared)):
            (archive / sensor).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(archive / sensor / f"{number:03d}.jpg", quality=95)


def _run(folder: Path) -> tuple[float, int]:
    command = [sys.executable, "-m", "jobs.fuse", str(folder / "archive"), "--out", str(folder / "fused")]
    began, peak = time.monotonic(), 0
    job = subprocess.Popen([*command, "--no-tracking"])
    while job.poll() is None:
        peak = max(peak, _memory(job.pid))
        time.sleep(0.5)
    if job.returncode:
        raise SystemExit(f"the job ended with exit code {job.returncode}")
    return time.monotonic() - began, peak


def _memory(pid: int) -> int:
    total = 0
    try:
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                continue
    except psutil.NoSuchProcess:
        pass
    return total


if __name__ == "__main__":
    main()
