"""The graphs for recordings that are cut: fuse segments, join complete recordings."""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.cluster.runner import Built, Progress, Runner, Workers
from pipelines.errors.failures import FAILURE, Row
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination
from pipelines.fuse.footage.concat import about_uri, joined_uri, preview_uri
from pipelines.fuse.footage.joiner import Joiner
from pipelines.fuse.footage.schemas import TO_JOIN
from pipelines.fuse.footage.segment_actor import SegmentActor
from pipelines.fuse.footage.segment_files import remove_joined
from pipelines.fuse.footage.segments import Failure
from pipelines.fuse.plan import Plan
from pipelines.fuse.schemas import JOB_MANIFEST
from pipelines.storage import objects as storage


def segment_graph(todo: pa.Table, failures: dict[str, Failure], plan: Plan, workers: Workers, runner: Runner) -> Any:
    """Build the graph that returns the outcome of each segment (WRITTEN)."""
    rows = [
        row | dict(zip(("error_code", "error"), failures.get(row["pair_id"], (None, None)), strict=True))
        for row in todo.to_pylist()
    ]
    schema = pa.schema([*JOB_MANIFEST, *FAILURE])
    return runner.add_actors(
        runner.begin_with([pa.Table.from_pylist([row], schema) for row in rows]),
        SegmentActor,
        workers,
        config=plan.config,
        model=plan.method.name,
        options=plan.pair_options,
        register=plan.register,
        method=plan.method,
        texts=plan.texts_of(todo),
        threads=workers.threads,
        on_gpu=workers.gpus > 0,
    )


def forget_joined(recordings: set[str], config: FuseConfig, destination: Destination) -> None:
    """Delete the joined recordings of which segments are about to be fused."""
    for recording in recordings:
        storage.delete(about_uri(destination, recording))
        storage.delete(joined_uri(destination, recording, config))
        storage.delete(preview_uri(destination, recording))


def join_complete(
    manifest: pa.Table,
    config: FuseConfig,
    destination: Destination,
    connect: Callable[[int], Runner],
    on_progress: Callable[[Progress], None],
) -> list[Row]:
    """Join the recordings whose segments all have rows, and return the description of each.

    `connect` gets how many there are to join, and is called only if there are any.
    """
    expected = manifest.filter(pc.is_valid(manifest["recording"])).select(["recording", "pair_id"]).to_pylist()
    if not expected:
        return []
    columns = [*JOB_MANIFEST.names, "status", "error_code", "time_base", "rate", "frames"]
    rows = destination.read_columns(columns)
    there = {row["pair_id"]: row for row in rows.filter(pc.is_valid(rows["recording"])).to_pylist()}
    segments: dict[str, list[Row | None]] = defaultdict(list)
    for one in expected:
        segments[one["recording"]].append(there.get(one["pair_id"]))
    complete = {name: [row for row in rows if row] for name, rows in segments.items() if all(rows)}
    joined = set(storage.list_files(destination.recordings))
    todo = [_to_join(rows) for name, rows in complete.items() if about_uri(destination, name) not in joined]
    if todo:
        workers = Workers(actors=1, cpus=1.0, gpus=0.0, threads=1)
        runner = connect(len(todo))

        def build() -> Built | None:
            joined = set(storage.list_files(destination.recordings))
            left = [row for row in todo if about_uri(destination, row["recording"]) not in joined]
            blocks = [pa.Table.from_pylist([row], TO_JOIN) for row in left]
            joiner = Joiner(config, destination)
            graph = runner.add_tasks(runner.begin_with(blocks), joiner, workers=workers)
            return Built(graph, len(left), workers) if left else None

        def report(progress: Progress) -> None:
            on_progress(replace(progress, doing="joining"))

        runner.run_to_end(build, report, "recordings")
    described = [json.loads(storage.read_bytes(about_uri(destination, name))) for name in sorted(complete)]
    remove_joined(destination, config, described, manifest)
    return described


def _to_join(rows: list[Row]) -> Row:
    rows = sorted(rows, key=lambda row: row["pair_id"])
    fused = [row for row in rows if row["status"] == "ok"]
    first = fused[0] if fused else rows[0]
    return {name: first[name] for name in ("recording", "a_uri", "b_uri", "offset_s", "offset_confidence")} | {
        "time_base": first["time_base"],
        "rate": first["rate"],
        "frames": sum(row["frames"] for row in fused),
        "segments": rows,
    }
