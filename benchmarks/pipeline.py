"""What the fuse job costs beside its network, how it scales, and how busy it keeps a GPU.

    python benchmarks/pipeline.py [overhead] [model] [rows] [gpu]

Everything by default, about ten minutes on two idle cores; without a GPU its part says so and is left out. Pairs are
hard links to a few drawn ones. Speeds are the slope of a line through what was done at which moment, from the first
tenth of the rows to the ninth: starting Ray, PyTorch and the copies of the network is left out, and so is the end, when
copies wait for the last one. `rows` runs each size in a process of its own and has everything in, start-up aside.
"""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import pyarrow as pa
import torch
from PIL import Image

from pipelines import fuse as fuse_job
from pipelines.cluster import Cluster, Workers
from pipelines.fuse import Plan, fuse, fuse_graph, plan_fuse
from pipelines.fuse_config import FuseConfig
from pipelines.night_street import draw_pair
from pipelines.rows import fused_schema
from pipelines.run_graph import Progress, run_graph
from upfusion.checkpoint import EMBEDDED, Checkpoint, Prompt, parse_checkpoint
from upfusion.images import read_image
from upfusion.model import FusionModel
from upfusion.network import UPFusion
from upfusion.presets import PRESETS

CORES = len(os.sched_getaffinity(0))
DRAWN = 16
# A colour image and a grey one of this side are 64 KiB of pixels.
OVERHEAD_SIDE, OVERHEAD_ROWS = 128, 6000
MODEL_SIZE, MODEL_PAIRS = (640, 480), 64
ROWS_SIDE, ROWS_BASE, ROWS = 32, 100, (1_000, 10_000, 100_000)
PARTS_OF_A_JOB = ("plan", "begin", "graph", "close", "again")
GPU_SIZES, GPU_PRESETS = ((640, 480), (1280, 1024)), ("tiny", "base", "paper")
GPU_SECONDS = 20.0
MEASURED = (0.1, 0.9)


def main() -> None:
    """Measure the parts that were asked for."""
    if sys.argv[1:2] == ["--rows"]:
        print(json.dumps(_count_rows(Path(sys.argv[2]), int(sys.argv[3]))))
        return
    parts = {"overhead": measure_overhead, "model": measure_model, "rows": measure_rows, "gpu": measure_gpu}
    for name in sys.argv[1:] or parts:
        with tempfile.TemporaryDirectory(prefix="upfusion-") as folder:
            print(f"== {name}", flush=True)
            parts[name](Path(folder))


class NoNetwork:
    """Stands where the network does, and gives A back."""

    def __init__(self, metrics: tuple[str, ...], **_: Any) -> None:
        self.schema = fused_schema(metrics)

    def __call__(self, pairs: pa.Table) -> pa.Table:
        """Pass a block on."""
        count = pairs.num_rows
        made = {"fused": pairs["a"], **dict.fromkeys(("fuse_ms", "measure_ms"), pa.array(np.zeros(count)))}
        there = {name: pairs[name] for name in self.schema.names if name in pairs.column_names} | made
        columns = [there.get(field.name, pa.nulls(count, field.type)) for field in self.schema]
        return pa.table(columns, schema=self.schema)


def measure_overhead(folder: Path) -> None:
    """Count rows a second with nothing where the network is."""
    kib = OVERHEAD_SIDE**2 * 4 // 1024
    # Bitmaps and JPEG take next to no time to decode and encode; PNG, the usual form, takes most of what there is.
    for source_form, form in (("bmp", "jpeg"), ("png", "png")):
        source = make_archive(folder / source_form, OVERHEAD_ROWS, (OVERHEAD_SIDE, OVERHEAD_SIDE), source_form)
        timeline = Timeline()
        with mock.patch.object(fuse_job, "FuseActor", NoNetwork):
            fuse(_plan(source, folder / f"out-{form}", format=form), timeline.hear)
        print(
            f"no network, {OVERHEAD_ROWS} rows of {kib} KiB, {source_form} to {form}, {CORES} cores: "
            f"{timeline.rate():.0f} rows a second in {timeline.blocks} blocks, "
            f"{OVERHEAD_ROWS / timeline.seconds:.0f} with start-up, {timeline.cpu():.2f} ms of CPU a row",
            flush=True,
        )


def measure_model(folder: Path) -> None:
    """Hold the job with `tiny` and 1, 2 and 4 copies of one thread against loops without a job."""
    width, height = MODEL_SIZE
    source = make_archive(folder / "in", MODEL_PAIRS, MODEL_SIZE)
    (alone, _), (together, cpu) = (bare_loops(source, processes) for processes in (1, CORES))
    print(f"tiny, {MODEL_PAIRS} pairs of {width}x{height}, no metrics, one thread a copy, {CORES} cores")
    print(
        f"  bare loop: {alone:.2f} pairs a second in one process, {together:.2f} in {CORES}; {cpu:.0f} ms of CPU a pair"
    )
    with Cluster():
        for copies in (1, 2, 4):
            plan = _plan(source, folder / f"out{copies}")
            workers = Workers(copies, cpus=min(0.9, CORES / 2 / copies), gpus=0.0, threads=1)
            timeline = Timeline()
            run_graph(fuse_graph(plan.found.pairs, plan, workers), MODEL_PAIRS, workers, timeline.hear)
            rate, ideal = timeline.rate(), min(copies, CORES) * alone
            line = (
                f"  job, {copies} copies: {rate:.2f} pairs a second, {rate / ideal:.0%} of {min(copies, CORES)} x one"
            )
            print(line + (f", {rate / together:.0%} of the bare loops" if copies == CORES else ""), flush=True)
    again, _ = bare_loops(source, CORES)
    print(f"  bare loops once more, to see how even this machine was: {again:.2f} pairs a second")


def measure_rows(folder: Path) -> None:
    """Time whole jobs of more and more rows, listing, manifest, closing and a second run included."""
    fixed = _rows_in_a_process(folder, ROWS_BASE)
    print(f"no network, pairs of {ROWS_SIDE}x{ROWS_SIDE}; less what {ROWS_BASE} rows take: {_said(fixed)}")
    for count in ROWS:
        figures = _rows_in_a_process(folder, count)
        rows = count - ROWS_BASE
        a_row = {name: 1000 * (value - fixed[name]) / rows for name, value in figures.items()}
        print(f"  {count} rows: {_said(figures)}")
        times = ", ".join(f"{name} {a_row[name]:.3f}" for name in PARTS_OF_A_JOB)
        total = sum(a_row[name] for name in PARTS_OF_A_JOB)
        memory = f"driver {a_row['driver_mib'] * 1.024:.2f} KiB, all processes {a_row['all_mib'] * 1.024:.2f} KiB"
        print(f"    a row: {total:.3f} ms ({times}), {a_row['cpu']:.3f} ms of CPU; {memory}", flush=True)


def measure_gpu(folder: Path) -> None:
    """Time networks bare and in the job on a GPU, and how busy it is."""
    if not torch.cuda.is_available():
        print("no GPU here: left out")
        return
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, {CORES} cores")
    for preset in GPU_PRESETS:
        checkpoint = any_checkpoint(preset)
        path = folder / f"{preset}.safetensors"
        path.write_bytes(checkpoint.to_bytes())
        for size in GPU_SIZES:
            source = folder / f"in-{size[0]}"
            for precision in ("fp32", "bf16"):
                bare, difference = bare_on_device(checkpoint, size, precision, "cuda", GPU_SECONDS)
                pairs = max(64, int(bare * GPU_SECONDS))
                shutil.rmtree(source, ignore_errors=True)
                make_archive(source, pairs, size)
                line = f"  {preset} {size[0]}x{size[1]} {precision}: bare {bare:.1f} pairs a second"
                for share in (1.0, 0.5):
                    rate, busy = _job_on_gpu(source, folder / "out", path, precision, share)
                    line += f"; job, {1 / share:.0f} on a GPU {rate:.1f} ({rate / bare:.0%}), GPU busy {busy:.0%}"
                largest, mean = difference
                print(line + f"; to fp32 at most {largest} grey levels, {mean:.4f} on average", flush=True)


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
            self.spent.append((progress.done, _cpu_seconds()))

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

    def rate(self) -> float:
        """Rows a second in the steady part."""
        total = self.seen[-1][1]
        steady = [one for one in self.seen if MEASURED[0] * total <= one[1] <= MEASURED[1] * total]
        moments, done = np.array(steady).T
        return float(np.polyfit(moments - moments[0], done, 1)[0])


def make_archive(folder: Path, count: int, size: tuple[int, int], form: str = "png") -> Path:
    """Lay out pairs of a size, all of them links to a few drawn ones."""
    drawn = folder.with_name(f"drawn-{size[0]}-{form}")
    for number in range(0 if drawn.exists() else DRAWN):
        # Drawn at a size that the scene is made for.
        pair = draw_pair(np.random.default_rng([0, number]), 640, 480)
        for sensor, pixels in zip(("visible", "infrared"), pair, strict=True):
            (drawn / sensor).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).resize(size).save(drawn / sensor / f"{number}.{form}")
    for sensor in ("visible", "infrared"):
        (folder / sensor).mkdir(parents=True)
        for number in range(count):
            os.link(drawn / sensor / f"{number % DRAWN}.{form}", folder / sensor / f"{number:07d}.{form}")
    return folder


def bare_loops(source: Path, processes: int) -> tuple[float, float]:
    """Fuse the pairs of a folder in so many processes of one thread, nothing read or written while time runs.

    Returns pairs a second, and milliseconds of CPU a pair.
    """
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(processes), context.Queue()
    names = sorted(path.name for path in (source / "visible").iterdir())
    shares = [names[start::processes] for start in range(processes)]
    loops = [context.Process(target=_loop, args=(source, share, barrier, answers)) for share in shares]
    for loop in loops:
        loop.start()
    seconds, spent = zip(*(answers.get() for _ in loops), strict=True)
    for loop in loops:
        loop.join()
    return len(names) / max(seconds), 1000 * sum(spent) / len(names)


def _loop(source: Path, names: list[str], barrier: Any, answers: Any) -> None:
    torch.set_num_threads(1)
    checkpoint = parse_checkpoint((EMBEDDED / "tiny.safetensors").read_bytes(), "tiny")
    model = FusionModel(checkpoint, "cpu")
    text_BT = model.guidance.embed("ir_visible", None)[None]
    pairs = [(read_image(source / "visible" / name), read_image(source / "infrared" / name)) for name in names]
    model.fuse_batch([pairs[0][0]], [pairs[0][1]], text_BT)
    barrier.wait()
    started, spent = time.monotonic(), time.process_time()
    for a, b in pairs:
        model.fuse_batch([a], [b], text_BT)
    answers.put((time.monotonic() - started, time.process_time() - spent))


def _cpu_seconds() -> float:
    total = 0.0
    for one in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            times = one.cpu_times()
        except psutil.Error:  # it has ended meanwhile
            continue
        # What has ended is counted with whoever waited for its end.
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _rows_in_a_process(folder: Path, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--rows", str(folder), str(count)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    if said.returncode:
        raise SystemExit(said.stderr[-3000:])
    figures: dict[str, float] = json.loads(said.stdout.splitlines()[-1])
    return figures


def _count_rows(folder: Path, count: int) -> dict[str, float]:
    """Run a job of so many rows and the same command again; seconds of its parts and MiB beyond what stood before."""
    folder = folder / str(count)
    source = make_archive(folder / "in", count, (ROWS_SIDE, ROWS_SIDE))
    timeline = Timeline()
    with mock.patch.object(fuse_job, "FuseActor", NoNetwork), Cluster(), _watching_memory() as peaks:
        began, spent = time.monotonic(), _cpu_seconds()
        plan = _plan(source, folder / "out")
        planned = time.monotonic()
        fuse(plan, timeline.hear)
        closed = time.monotonic()
        fuse(_plan(source, folder / "out"))
        again = time.monotonic() - closed
        spent = _cpu_seconds() - spent
    shutil.rmtree(folder)
    return {
        "plan": planned - began,
        "begin": timeline.seen[0][0] - planned,
        "graph": timeline.seconds,
        "close": closed - timeline.seen[-1][0],
        "again": again,
        "cpu": spent,
        "driver_mib": peaks["driver"],
        "all_mib": peaks["all"],
    }


@contextmanager
def _watching_memory() -> Iterator[dict[str, float]]:
    """Follow the resident memory of this process, and the proportional one of it and all that it has started."""
    here, over = psutil.Process(), threading.Event()
    before = here.memory_info().rss / 2**20
    peaks = {"driver": 0.0, "all": 0.0}

    def watch() -> None:
        turn = 0
        while not over.wait(0.05):
            peaks["driver"] = max(peaks["driver"], here.memory_info().rss / 2**20 - before)
            if turn % 40 == 0:
                peaks["all"] = max(peaks["all"], _proportional(here))
            turn += 1

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield peaks
    over.set()
    thread.join()


def _proportional(process: psutil.Process) -> float:
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:  # it has ended meanwhile
            continue
    return total / 2**20


def _said(figures: dict[str, float]) -> str:
    seconds = sum(figures[name] for name in PARTS_OF_A_JOB)
    memory = f"driver {figures['driver_mib']:.0f} MiB, all processes {figures['all_mib']:.0f} MiB"
    return f"{seconds:.1f} s, {figures['cpu']:.1f} s of CPU, {memory}"


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


def bare_on_device(
    checkpoint: Checkpoint, size: tuple[int, int], precision: Any, device: str, seconds: float
) -> tuple[float, tuple[int, float]]:
    """Return pairs a second of the network alone, in the passes that fit best, and how far from fp32 it is."""
    model = FusionModel(checkpoint, device, precision=precision)
    a, b = draw_pair(np.random.default_rng([0, 0]), 640, 480)
    a, b = (np.asarray(Image.fromarray(image).resize(size)) for image in (a, b))
    text_BT = model.guidance.embed("ir_visible", None)[None]
    exact = FusionModel(checkpoint, device).fuse_batch([a], [b], text_BT)[0]
    off = np.abs(exact.astype(int) - model.fuse_batch([a], [b], text_BT)[0])
    best, count = 0.0, 1
    while True:
        try:
            rate = _pairs_a_second(
                lambda n=count: model.fuse_batch([a] * n, [b] * n, text_BT.expand(n, -1)), count, seconds / 5
            )
        except torch.OutOfMemoryError:
            break
        if rate < 1.03 * best:
            break
        best, count = rate, 2 * count
    return best, (int(off.max()), float(off.mean()))


def _pairs_a_second(fuse_some: Callable[[], object], count: int, seconds: float) -> float:
    fuse_some()
    started, done = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        fuse_some()
        done += count
    return done / (time.monotonic() - started)


def _job_on_gpu(source: Path, out: Path, model: Path, precision: str, share: float) -> tuple[float, float]:
    """Return pairs a second of a job in its steady part, and the share of that time the GPU was computing."""
    shutil.rmtree(out, ignore_errors=True)
    timeline = Timeline()
    with _watching_gpu() as busy:
        fuse(_plan(source, out, model=str(model), precision=precision, gpus_per_actor=share), timeline.hear)
    total = timeline.seen[-1][1]
    steady = [moment for moment, done in timeline.seen if MEASURED[0] * total <= done <= MEASURED[1] * total]
    seen = [share for moment, share in busy if steady[0] <= moment <= steady[-1]]
    return timeline.rate(), float(np.mean(seen)) if seen else float("nan")


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


def _plan(source: Path, out: Path, **settings: Any) -> Plan:
    return plan_fuse(FuseConfig(source=str(source), out=str(out), metrics="none", no_tracking=True, **settings))


if __name__ == "__main__":
    main()
