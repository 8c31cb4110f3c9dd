"""The fuse job: an archive of pairs in, fused images and a row of metrics a pair out.

    discover -> manifest -> fetch -> decode -> fuse + measure -> encode -> put

Fetching, decoding, encoding and putting are CPU tasks, the network sits in actors. Data flows in blocks of a
few pairs; what becomes of a pair is a row, never an exception.
"""

import functools
import hashlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.archive.allowlist import (
    MayRead,
    Places,
    allowed_by_person,
    allowed_by_place,
    allowed_by_source,
    check_places,
    is_allowed,
)
from pipelines.archive.load import load_sources
from pipelines.cluster.dataset import Graph, add_actors, add_tasks, begin_with
from pipelines.cluster.execute import Progress, run_graph
from pipelines.cluster.ray_cluster import Cluster, Workers
from pipelines.errors.exceptions import RequestError
from pipelines.fuse.actor import FuseActor
from pipelines.fuse.destination import Destination, aggregate, as_job_manifest, without
from pipelines.fuse.footage.graph import Found, cut_found, forget_joined, join_complete, segment_graph
from pipelines.fuse.plan import Plan
from pipelines.fuse.report.page import write_report
from pipelines.fuse.tracking import track
from pipelines.fuse.writer import Writer
from pipelines.storage import objects as storage
from pipelines.tracking.run import InputData, TrackedRun, open_run

# Pairs that one task fetches and decodes; each task takes tens of milliseconds of CPU, whatever is in it. It yields
# blocks of some megabytes, whatever the size of the images: they bound the memory of the stages, and what a killed job
# loses of its work. 16 MiB of pixels are about thirteen seconds with `tiny` on a core, 128 MiB as much with `paper` on
# a GPU.
PAIRS_A_TASK, TASKS_AN_ACTOR = 512, 8
BYTES_A_BLOCK_CPU, BYTES_A_BLOCK_GPU = 16 << 20, 128 << 20


@dataclass(frozen=True)
class Outcome:
    """What a finished job leaves behind."""

    destination: Destination
    pairs: int
    ok: int
    failed: int
    fused_now: int
    seconds: float
    unpaired: list[str] = field(default_factory=list)
    aggregates: dict[str, dict[str, float]] = field(default_factory=dict)
    tracked: str | None = None
    """Where to look at the MLflow run."""
    recordings: list[dict[str, Any]] = field(default_factory=list)
    """What is known of each joined recording (`recordings/*.json`)."""
    unit: str = "pairs"
    """What the manifest lists: pairs (of images), segments (of recordings), or both."""

    @property
    def failed_share(self) -> float:
        """The share of the manifest's pairs that failed."""
        return self.failed / self.pairs


def fuse(plan: Plan, on_progress: Callable[[Progress], None] | None = None, *, verbose: bool = False) -> Outcome:
    """Carry out a plan: every pair of the manifest ends as exactly one row, whatever was there before.

    Raises RequestError when DEST belongs to other settings or another archive, and StoreLostError when a store can no
    longer be read or written.
    """
    started = time.monotonic()
    config, destination = plan.config, Destination(plan.config.destination)
    try:
        if config.shard:
            Destination(config.out).claim(plan.run_of_all_shards)
        destination.claim(plan.run)
        finished = destination.finished()
    except OSError as error:
        raise RequestError(f"--out cannot be used: {storage.without_secrets(str(error))}") from error
    if config.retry_failed and finished.failed:
        destination.remove_failed(finished)
        finished = destination.finished()
    try:
        found = cut_found(plan.found.pairs, config, destination, finished)
        manifest = destination.merge_manifest(found.rows, found.outdated)
    except OSError as error:
        raise RequestError(f"--out cannot be used: {storage.without_secrets(str(error))}") from error
    # Without a limit everything in the manifest, also what an interrupted run found and this one did not.
    todo = without(found.rows if config.limit else manifest, finished.ids)
    check_others(todo, plan, destination)
    data = InputData("manifest", destination.manifest, _digest_of_ids(manifest))
    with open_run(config, plan.run, kind="fuse", uri=destination.uri, data=data) as tracked:
        say = on_progress or (lambda _: None)
        with ExitStack() as stack:
            cluster = _connecting(stack, tracked, verbose=verbose)
            if todo.num_rows:
                # It speaks of the rows there were before; while others are made it would be a lie.
                storage.delete(destination.success)
                say(Progress(todo.num_rows, unit=_unit_of(todo)))  # Ray takes seconds to start
                _run_graphs(todo, found, plan, destination, cluster(), say)
            recordings = join_complete(manifest, config, destination, cluster, say)
        return _close(plan, destination, manifest, tracked, todo.num_rows, time.monotonic() - started, recordings)


def _connecting(stack: ExitStack, tracked: TrackedRun, *, verbose: bool) -> Callable[[], Cluster]:
    """Return a function that connects to a cluster when it is first called."""

    @functools.cache
    def connect() -> Cluster:
        cluster = stack.enter_context(Cluster(verbose=verbose))
        tracked.tag_ray_job(cluster)
        return cluster

    return connect


def _run_graphs(
    todo: pa.Table,
    found: Found,
    plan: Plan,
    destination: Destination,
    cluster: Cluster,
    on_progress: Callable[[Progress], None],
) -> None:
    """Fuse the pairs of images, then the segments of recordings."""
    is_segment = pc.is_valid(todo["recording"])
    images, segments = todo.filter(pc.invert(is_segment)), todo.filter(is_segment)
    if images.num_rows:
        workers = cluster.workers(plan.config.actors, plan.config.gpus_per_actor, images.num_rows)
        run_graph(fuse_graph(images, plan, workers), images.num_rows, workers, on_progress)
    if segments.num_rows:
        forget_joined(set(segments["recording"].to_pylist()), plan.config, destination)
        workers = cluster.workers(
            plan.config.actors, plan.config.gpus_per_actor, segments.num_rows, pairs_worth_a_copy=1
        )
        graph = segment_graph(segments, found.failures, plan, workers)
        run_graph(graph, segments.num_rows, workers, on_progress, "segments")


def check_others(todo: pa.Table, plan: Plan, destination: Destination) -> None:
    """Check the pairs that only DEST knows, where others may write too.

    Raises RequestError for one that lies neither where SOURCE, nor where a manifest in DEST may name pairs.
    """
    known = plan.found.pairs["pair_id"].combine_chunks()
    rows = as_job_manifest(todo)
    of = pc.coalesce(rows["recording"], rows["pair_id"])
    others = rows.filter(pc.invert(pc.is_in(of, value_set=known))).select(["pair_id", "a_uri", "b_uri"]).to_pylist()
    named = ((f"pair {row['pair_id']!r}: {side}", row[side]) for row in others for side in ("a_uri", "b_uri"))
    check_places(destination.manifest, named, _allowed(plan, destination))


def _allowed(plan: Plan, destination: Destination) -> Places:
    by_place = (*allowed_by_place(destination.manifest), *allowed_by_source(plan.config.source))
    return (*by_place, *allowed_by_person(plan.config.allow))


def _may_read(plan: Plan, destination: Destination) -> MayRead:
    """Say which images that rows of DEST name may be shown."""
    allowed = _allowed(plan, destination)
    sides = [plan.found.pairs[side] for side in ("a_uri", "b_uri")]
    return lambda uri: is_allowed(uri, allowed) or any(pc.index(side, uri).as_py() >= 0 for side in sides)


def fuse_graph(todo: pa.Table, plan: Plan, workers: Workers) -> Graph:
    """Build the graph whose rows (WRITTEN) say what became of each pair."""
    # Enough tasks for every actor to have a few, whatever the size of the archive.
    size = max(1, min(PAIRS_A_TASK, todo.num_rows // (TASKS_AN_ACTOR * workers.actors)))
    tasks = [todo.slice(start, size) for start in range(0, todo.num_rows, size)]
    graph = begin_with(tasks)
    # Ray makes a block of what a task has yielded as soon as it is larger than this.
    graph.context.target_max_block_size = BYTES_A_BLOCK_GPU if workers.gpus else BYTES_A_BLOCK_CPU
    loaded = add_tasks(graph, load_sources, plan.config.max_bytes, plan.config.max_pixels)
    fused = add_actors(
        loaded,
        FuseActor,
        workers,
        checkpoint=plan.checkpoint_bytes,
        texts=plan.texts_of(todo),
        metrics=plan.config.metrics,
        threads=workers.threads,
        on_gpu=workers.gpus > 0,
        precision=plan.config.precision,
        guide=plan.config.guide,
        tiles=plan.config.tiles,
    )
    return add_tasks(fused, Writer(plan.config, plan.checkpoint.name))


def _digest_of_ids(manifest: pa.Table) -> str:
    digest = hashlib.sha256()
    for start in range(0, manifest.num_rows, 10_000):
        ids = manifest["pair_id"].slice(start, 10_000).to_pylist()
        digest.update(("\n" * (start > 0) + "\n".join(ids)).encode())
    return digest.hexdigest()


def _close(
    plan: Plan,
    destination: Destination,
    manifest: pa.Table,
    tracked: TrackedRun,
    fused_now: int,
    seconds: float,
    recordings: list[dict[str, Any]],
) -> Outcome:
    """Check every id of the manifest against the rows, then write what depends on all of them."""
    finished = destination.finished()
    if len(finished.repeated):
        destination.remove_repeated(finished)
        finished = destination.finished()
    missing = without(manifest, finished.ids)["pair_id"]
    surplus = without(finished.rows, manifest["pair_id"].combine_chunks())["pair_id"]
    counts = {
        "pairs": manifest.num_rows,
        "ok": finished.ok,
        "failed": finished.failed,
        "unpaired": len(plan.found.unpaired),
        "unpaired_files": plan.found.unpaired[:1000],
    }
    if recordings:
        counts |= {"recordings": len(recordings), "recordings_with_gaps": sum(bool(r["missing"]) for r in recordings)}
    if not len(missing) and not len(surplus):
        destination.succeed(counts)
    elif plan.config.limit is None:
        first = min(name[0].as_py() for name in (missing, surplus) if len(name))
        raise RuntimeError(
            f"{len(missing)} pairs of the manifest have no row and {len(surplus)} rows no pair (first: {first!r}); "
            "run the same command again to go on"
        )
    write_report(destination.uri, _may_read(plan, destination))
    aggregates = aggregate(destination, plan.config.metrics)
    track(tracked, destination, counts, aggregates, fused_now, seconds, _may_read(plan, destination))
    return Outcome(
        destination=destination,
        pairs=finished.rows.num_rows,
        ok=finished.ok,
        failed=finished.failed,
        fused_now=fused_now,
        seconds=seconds,
        unpaired=plan.found.unpaired,
        aggregates=aggregates,
        tracked=tracked.where,
        recordings=recordings,
        unit=_unit_of(manifest),
    )


def _unit_of(manifest: pa.Table) -> str:
    images = manifest["recording"].null_count
    if images == manifest.num_rows:
        return "pairs"
    return "pairs and segments" if images else "segments"
