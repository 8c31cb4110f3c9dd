"""The graph for recordings: cut new ones into segments, fuse segments, join complete recordings."""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.archive.formats import is_recording
from pipelines.cluster.runner import Built, Progress, Runner, Workers
from pipelines.errors.exceptions import UsageError
from pipelines.errors.failures import FAILURE, Row
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination, Finished, as_job_manifest
from pipelines.fuse.footage.concat import about_uri, joined_uri, preview_uri
from pipelines.fuse.footage.joiner import Joiner
from pipelines.fuse.footage.schemas import TO_JOIN
from pipelines.fuse.footage.segment_actor import SegmentActor
from pipelines.fuse.footage.segment_files import remove_joined
from pipelines.fuse.footage.segments import Failure, cut_all
from pipelines.fuse.plan import Plan
from pipelines.fuse.schemas import JOB_MANIFEST
from pipelines.storage import objects as storage


@dataclass(frozen=True)
class Found:
    """The work of a job: pairs of images, and segments of recordings."""

    rows: pa.Table
    """JOB_MANIFEST."""
    outdated: frozenset[str] = frozenset()
    """Manifest ids of recordings that could not be cut before and now are."""
    failures: dict[str, Failure] = field(default_factory=dict)
    """Why a recording, listed in the manifest as a whole, could not be cut."""


def cut_found(pairs: pa.Table, config: FuseConfig, destination: Destination, finished: Finished) -> Found:
    """Replace pairs of recordings by their segments: those in the manifest, or, for new ones, cut here.

    Raises UsageError if a recording is listed in the manifest with other sources.
    """
    recordings = [
        is_recording(a) or is_recording(b)
        for a, b in zip(*(pairs[s].to_pylist() for s in ("a_uri", "b_uri")), strict=True)
    ]
    images = as_job_manifest(pairs.filter(pa.array([not video for video in recordings], pa.bool_())))
    known = destination.read_manifest()
    known = known.filter(pc.is_valid(known["recording"])).to_pylist()
    if not any(recordings) and not known:
        return Found(images)
    there: dict[str, list[Row]] = defaultdict(list)
    for row in known:
        there[row["recording"]].append(row)
    wanted = pairs.filter(pa.array(recordings, pa.bool_())).to_pylist()
    for pair in wanted:
        _check_same(pair, there.get(pair["pair_id"], [pair])[0], destination)
    done = set(finished.ids.to_pylist())
    uncut = {
        row["recording"]: {name: row[name] for name in pairs.column_names} | {"pair_id": row["recording"]}
        for row in known
        if row["start_pts"] is None and row["pair_id"] not in done
    }
    to_cut = uncut | {pair["pair_id"]: pair for pair in wanted if pair["pair_id"] not in there}
    cuts = dict(zip(to_cut, cut_all(list(to_cut.values()), config), strict=True))
    kept = [row for pair in wanted for row in there[pair["pair_id"]] if pair["pair_id"] not in to_cut]
    rows = [*kept, *(row for cut in cuts.values() for row in cut.rows)]
    return Found(
        pa.concat_tables([images, pa.Table.from_pylist(rows, JOB_MANIFEST)]).sort_by("pair_id"),
        frozenset(name for name in uncut if cuts[name].failure is None),
        {name: cut.failure for name, cut in cuts.items() if cut.failure is not None},
    )


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
        model=plan.checkpoint.name,
        options=plan.pair_options,
        register=plan.register,
        checkpoint=plan.checkpoint_bytes,
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

        runner.run_to_end(build, on_progress, "recordings")
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


def _check_same(pair: Row, there: Row, destination: Destination) -> None:
    differing = [
        f"{name} {there[name]!r}, now {pair[name]!r}"
        for name in pair
        if name != "pair_id" and there[name] != pair[name]
    ]
    if differing:
        raise UsageError(
            f"recording {pair['pair_id']!r} is listed in {destination.manifest} with {'; '.join(differing)}. "
            "Choose another --out for another archive."
        )
