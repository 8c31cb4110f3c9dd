"""What the fuse job costs beside its network, and how it scales on CPUs.

    python benchmarks/pipeline.py [overhead] [model] [rows]

Everything by default, about fifteen minutes on two idle cores. Speeds are those of the steady part (steady.py); `rows`
runs each size in a process of its own and has everything in, start-up aside. gpu.py has what needs a GPU.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import pyarrow as pa
import torch
from steady import Timeline, cpu_seconds, make_archive, mean_stages, plan_job, say_what_saturates

from pipelines.cluster.allocator import keep_freed_memory
from pipelines.cluster.execute import run_graph
from pipelines.cluster.ray_cluster import Cluster
from pipelines.cluster.runner import Progress, Workers
from pipelines.fuse import graph as fuse_graphs
from pipelines.fuse.graph import fuse_graph
from pipelines.fuse.job import fuse
from pipelines.fuse.schemas import fused_schema
from upfusion.checkpoint import EMBEDDED, parse_checkpoint
from upfusion.images import read_image
from upfusion.model import FusionModel

CORES = len(os.sched_getaffinity(0))
# Forms of sources and fused images, with the side at which a pair has 64 KiB of pixels. Bitmaps, colour on both sides,
# take next to nothing to decode; PNG takes most of the time that there is.
OVERHEAD_FORMS = (("bmp", "jpeg", 104), ("jpeg", "jpeg", 128), ("png", "png", 128))
OVERHEAD_ROWS = 12_000
MODEL_SIZE, MODEL_PAIRS, BARE_PAIRS = (640, 480), 160, 48
ROWS_SIDE, ROWS_BASE, ROWS = 32, 100, (1_000, 10_000, 100_000)
PARTS_OF_A_JOB = ("plan", "begin", "graph", "close", "again")


def main() -> None:
    """Measure the parts that were asked for."""
    if sys.argv[1:2] == ["--rows"]:
        print(json.dumps(_count_rows(Path(sys.argv[2]), int(sys.argv[3]))))
        return
    parts = {"overhead": measure_overhead, "model": measure_model, "rows": measure_rows}
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
    """Count rows/s with nothing where the network is."""
    for form, output, side in OVERHEAD_FORMS:
        source = make_archive(folder / form, OVERHEAD_ROWS, (side, side), form)
        timeline = Timeline()
        with mock.patch.object(fuse_graphs, "FuseActor", NoNetwork):
            fuse(plan_job(source, folder / f"out-{form}", format=output), timeline.hear)
        print(
            f"no network, {OVERHEAD_ROWS} rows of 64 KiB, {form} to {output}, {CORES} cores: "
            f"{timeline.rate():.0f} rows/s in {timeline.blocks} blocks, "
            f"{OVERHEAD_ROWS / timeline.seconds:.0f} with start-up, {timeline.cpu():.2f} ms of CPU a row",
            flush=True,
        )


def measure_model(folder: Path) -> None:
    """Hold the job with `tiny` and 1, 2 and 4 copies of one thread against loops without a job."""
    width, height = MODEL_SIZE
    source = make_archive(folder / "in", MODEL_PAIRS, MODEL_SIZE)
    (alone, _), (together, cpu) = (bare_loops(source, processes) for processes in (1, CORES))
    pairs = f"{MODEL_PAIRS} pairs ({BARE_PAIRS} in loops) of {width}x{height}"
    print(f"tiny, {pairs}, no metrics, one thread per copy, {CORES} cores")
    print(f"  bare loop: {alone:.2f} pairs/s in one process, {together:.2f} in {CORES}; {cpu:.0f} ms of CPU per pair")
    with Cluster() as cluster:
        for copies in (1, 2, 4):
            plan = plan_job(source, folder / f"out{copies}")
            workers = Workers(copies, cpus=min(0.9, CORES / 2 / copies), gpus=0.0, threads=1)
            timeline = Timeline()
            graph = fuse_graph(plan.found.pairs, plan, workers, cluster)
            run_graph(graph, Progress(MODEL_PAIRS), workers, timeline.hear)
            rate, ideal = timeline.rate(), min(copies, CORES) * alone
            line = f"  job, {copies} copies: {rate:.2f} pairs/s, {rate / ideal:.0%} of {min(copies, CORES)} x one"
            print(line + (f", {rate / together:.0%} of the bare loops" if copies == CORES else ""))
            share = f"{timeline.cpu():.0f} ms of CPU per pair"
            stages = mean_stages(folder / f"out{copies}")
            print(f"    {share}; {say_what_saturates(rate, timeline.cpu(), CORES, stages)}", flush=True)
    again, _ = bare_loops(source, CORES)
    print(f"  bare loops once more, to see how even this machine was: {again:.2f} pairs/s")


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


def bare_loops(source: Path, processes: int) -> tuple[float, float]:
    """Fuse pairs of a folder in so many processes of one thread, nothing read or written while time runs.

    Returns pairs/s, and milliseconds of CPU per pair.
    """
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(processes), context.Queue()
    names = sorted(path.name for path in (source / "visible").iterdir())[:BARE_PAIRS]
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
    keep_freed_memory()  # as the job's processes do
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
    with mock.patch.object(fuse_graphs, "FuseActor", NoNetwork), Cluster(), _watching_memory() as peaks:
        began, spent = time.monotonic(), cpu_seconds()
        plan = plan_job(source, folder / "out")
        planned = time.monotonic()
        fuse(plan, timeline.hear)
        closed = time.monotonic()
        fuse(plan_job(source, folder / "out"))
        again = time.monotonic() - closed
        spent = cpu_seconds() - spent
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


if __name__ == "__main__":
    main()
