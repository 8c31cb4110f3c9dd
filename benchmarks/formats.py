"""CPU milliseconds per pair of each stage of the fuse job, by image format: `python benchmarks/formats.py`.

    python benchmarks/formats.py [--against CHECKOUT] [--source FOLDER] [--model tiny] [--turns 5]

One process, one thread, pairs of 640x480 with A in colour and B in grey, drawn or from FOLDER (`visible`, `infrared`),
files to files on a local disk. With `--against` (such as `git worktree add CHECKOUT COMMIT`) the stages of that
version run in turns with those of this one, so that a busy machine slows both alike, and the last column is the ratio.

    fetch      reading both files
    decode     to arrays, with metadata and the table of the block
    score      whether the pair is registered, as every row says
    fuse       the network and the colours, without metrics
    write      encoding, the image's file, and the row
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

FORMS = {"png": "png", "jpg": "jpeg"}
PAIRS, SIZE, SENSORS = 12, (640, 480), ("visible", "infrared")
STAGES = ("fetch", "decode", "score", "fuse", "write")


def main() -> None:
    """Run this version, or this one and another in turns, and print a line per format and stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--stages", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stages:
        print(json.dumps({form: measure(given.stages / form, form, given.model) for form in FORMS}))
        return
    here = Path(__file__).parents[1]
    versions = [given.against.resolve(), here] if given.against else [here]
    with tempfile.TemporaryDirectory(prefix="upfusion-") as folder:
        lay_out(Path(folder), given.source)
        seen: dict[tuple[str, str, Path], list[float]] = defaultdict(list)
        for _ in range(given.turns):
            for version in versions:
                for form, stages in _in_a_process(version, Path(folder), given.model).items():
                    for stage, milliseconds in stages.items():
                        seen[form, stage, version].append(milliseconds)
    for form in FORMS:
        found = {stage: [median(seen[form, stage, version]) for version in versions] for stage in STAGES}
        found["all but fuse"] = [sum(found[s][n] for s in STAGES if s != "fuse") for n in range(len(versions))]
        found["all"] = [sum(found[s][n] for s in STAGES) for n in range(len(versions))]
        for stage, figures in found.items():
            ratio = f"  x {figures[-1] / figures[0]:.2f}" if given.against else ""
            print(f"{form:4s} {stage:13s}" + "".join(f"{one:8.2f}" for one in figures) + ratio)


def lay_out(folder: Path, source: Path | None) -> None:
    """Write the pairs in every format; JPEG has quality 95."""
    from pipelines.demo.street import draw_pair

    for number in range(PAIRS):
        if source is None:
            pair = draw_pair(np.random.default_rng(number), *SIZE)
        else:
            path = sorted((source / SENSORS[0]).iterdir())[number]
            pair = tuple(np.asarray(Image.open(source / sensor / path.name).resize(SIZE)) for sensor in SENSORS)
        for form in FORMS:
            for sensor, pixels in zip(SENSORS, pair, strict=True):
                path = folder / form / sensor / f"{number:03d}.{form}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path, quality=95)


def measure(source: Path, form: str, model: str) -> dict[str, float]:
    """Run all stages on the pairs of a folder, first to warm up, and return the milliseconds of CPU of each."""
    import torch

    from pipelines.archive.load import decode, fetch
    from pipelines.fuse.actor import FuseActor
    from pipelines.fuse.config import FuseConfig
    from pipelines.fuse.plan import plan_fuse
    from pipelines.fuse.writer import Writer

    torch.set_num_threads(1)
    _keep_freed_memory()
    with tempfile.TemporaryDirectory(prefix="upfusion-") as out:
        settings = {"metrics": "none", "images": "files", "no_tracking": True, "model": model, "format": FORMS[form]}
        plan = plan_fuse(FuseConfig(source=str(source), out=out, **settings))
        pairs, unscored = plan.found.pairs, replace(plan.register, judges=False)
        texts = plan.texts_of(pairs)
        run = FuseActor(method=plan.method, texts=texts, metrics=(), threads=1, on_gpu=False)
        write = Writer(plan.config, plan.method.name, frozenset())
        limits = plan.config.max_pixels, plan.pair_options
        for _ in range(2):
            laps = [time.process_time()]
            rows = fetch(pairs, plan.config.max_bytes)
            laps.append(time.process_time())
            decode([dict(row) for row in rows], *limits, unscored)
            laps.append(time.process_time())
            decoded = decode(rows, *limits, plan.register)
            laps.append(time.process_time())
            fused = run(decoded)
            laps.append(time.process_time())
            write(fused)
            laps.append(time.process_time())
    found = dict(zip(STAGES, 1000 * np.diff(laps) / pairs.num_rows, strict=True))
    return found | {"score": found["score"] - found["decode"]}


def _keep_freed_memory() -> None:
    try:
        from pipelines.cluster.allocator import keep_freed_memory
    except ImportError:  # versions before it
        return
    keep_freed_memory()


def _in_a_process(version: Path, folder: Path, model: str) -> dict[str, dict[str, float]]:
    command = [sys.executable, __file__, "--stages", str(folder), "--model", model]
    environment = os.environ | {"PYTHONPATH": str(version), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
