"""What the driver of a fuse job costs per row: listing, manifest, closing, and the same command again.

    python benchmarks/driver.py [ROWS ...]

10,000 and 100,000 rows by default. The job is a whole one but for its graph, in whose place rows are written as the
writer does, 512 a file, with one small image each. Seconds are of CPU, which other work on the machine changes least;
memory is what the process held at most, beyond what it held before the first part.
"""

import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import pyarrow as pa
from PIL import Image
from steady import make_archive, plan_job

from pipelines.fuse import job as jobs
from pipelines.fuse.destination import Destination
from pipelines.fuse.plan import Plan
from pipelines.fuse.schemas import STAGES, output_schema

ROWS, SIDE, ROWS_A_FILE = (10_000, 100_000), 32, 512
PARTS = ("listing", "manifest", "closing", "again: listing", "again: all else")


def main() -> None:
    """Measure each number of rows in a process of its own."""
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(_measure(Path(sys.argv[2]), int(sys.argv[3]))))
        return
    for count in map(int, sys.argv[1:] or ROWS):
        with tempfile.TemporaryDirectory(prefix="upfusion-") as folder:
            said = subprocess.run(
                [sys.executable, __file__, "--one", folder, str(count)], capture_output=True, text=True, check=False
            )
        if said.returncode:
            raise SystemExit(said.stderr[-3000:])
        figures = json.loads(said.stdout.splitlines()[-1])
        parts = ", ".join(f"{name} {1000 * figures[name] / count:.3f}" for name in PARTS)
        memory = f"{figures['mib']:.0f} MiB, {figures['mib'] * 1024 / count:.2f} KiB a row"
        print(f"{count} rows, ms of CPU a row: {parts}; {memory}", flush=True)


def _measure(folder: Path, count: int) -> dict[str, float]:
    """Return seconds of CPU of each part, and the most memory in MiB."""
    source, out = make_archive(folder / "in", count, (SIDE, SIDE)), folder / "out"
    figures: dict[str, float] = {}

    @contextmanager
    def part(name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        figures[name] = time.process_time() - began

    def timed(name: str, run: Callable[..., Any]) -> Callable[..., Any]:
        def run_timed(*given: Any) -> Any:
            with part(name):
                return run(*given)

        return run_timed

    with (
        _peak_memory() as peak,
        mock.patch.object(jobs, "run_graphs", timed("graph", _write_rows)),
        mock.patch.object(jobs, "_close", timed("closing", jobs._close)),
    ):
        with part("listing"):
            plan = plan_job(source, out, runner="inline")
        with part("job"):
            jobs.fuse(plan)
        figures["manifest"] = figures["job"] - figures["graph"] - figures["closing"]
        first = dict(figures)
        with part("again: listing"):
            plan = plan_job(source, out, runner="inline")
        with part("again: all else"):
            jobs.fuse(plan)
    return figures | first | {"mib": peak[0]}


def _write_rows(todo: pa.Table, _: object, plan: Plan, destination: Destination, *__: object) -> None:
    """Stand where the graph does: write a row per pair."""
    schema = output_schema(plan.config.metrics)
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "png")
    same = {"status": "ok", "width": SIDE, "height": SIDE, "model": "tiny", "schema_version": 1, "metrics_version": 1}
    same |= {f"{stage}_ms": 1.0 for stage in STAGES}
    for start in range(0, todo.num_rows, ROWS_A_FILE):
        pairs = todo.slice(start, ROWS_A_FILE)
        given = {name: pairs[name] for name in pairs.column_names}
        given |= {name: pa.array([value] * len(pairs), schema.field(name).type) for name, value in same.items()}
        fused = [{"bytes": buffer.getvalue(), "path": f"{pair_id}.png"} for pair_id in pairs["pair_id"].to_pylist()]
        given["fused"] = pa.array(fused, schema.field("fused").type)
        columns = [given.get(field.name, pa.nulls(len(pairs), field.type)) for field in schema]
        destination.write_pairs(pa.table(columns, schema=schema))


@contextmanager
def _peak_memory() -> Iterator[list[float]]:
    """Follow the resident memory of this process during a `with` block, in MiB beyond what it has now."""
    here, over = psutil.Process(), threading.Event()
    before, peak = here.memory_info().rss, [0.0]

    def watch() -> None:
        while not over.wait(0.05):
            peak[0] = max(peak[0], (here.memory_info().rss - before) / 2**20)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield peak
    over.set()
    thread.join()


if __name__ == "__main__":
    main()
