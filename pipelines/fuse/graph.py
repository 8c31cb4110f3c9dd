"""The graph of a fuse job: its stages, and building it anew with what is left to do."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.archive.image_columns import in_order_of_rows
from pipelines.archive.load import load_sources
from pipelines.cluster.runner import Built, Progress, Runner, Workers
from pipelines.fuse.actor import FuseActor
from pipelines.fuse.destination import Destination, without
from pipelines.fuse.footage.graph import forget_joined, segment_graph
from pipelines.fuse.footage.segments import Failure
from pipelines.fuse.plan import Plan
from pipelines.fuse.writer import Writer

# Pairs per fetch-and-decode task; a task has an overhead of tens of milliseconds of CPU. It yields
# blocks of some megabytes, whatever the size of the images, which bounds the memory of the stages and the work that a
# killed job loses. 16 MiB of pixels are about thirteen seconds with `tiny` on a core, 128 MiB as much with `paper` on
# a GPU.
PAIRS_A_TASK, TASKS_AN_ACTOR = 512, 8
BYTES_A_BLOCK_CPU, BYTES_A_BLOCK_GPU = 16 << 20, 128 << 20


def run_graphs(
    todo: pa.Table,
    failures: dict[str, Failure],
    plan: Plan,
    destination: Destination,
    runner: Runner,
    on_progress: Callable[[Progress], None],
    alike: frozenset[str],
) -> None:
    """Fuse the pairs of images in `todo`, then the segments of recordings.

    `failures` say why recordings could not be cut, `alike` are ids that differ in case only.

    Raises StoreLostError if a store can no longer be read or written.
    """
    is_segment = pc.is_valid(todo["recording"])
    images, segments = todo.filter(pc.invert(is_segment)), todo.filter(is_segment)
    settings = plan.config.actors, plan.gpus_per_actor

    def build_images(left: pa.Table) -> Built:
        workers = runner.workers(*settings, left.num_rows)
        return Built(fuse_graph(left, plan, workers, runner, alike), left.num_rows, workers)

    def build_segments(left: pa.Table) -> Built:
        workers = runner.workers(*settings, left.num_rows, pairs_worth_a_copy=1)
        return Built(segment_graph(left, failures, plan, workers, runner), left.num_rows, workers)

    if images.num_rows:
        runner.run_to_end(_building(build_images, images, destination), on_progress)
    if segments.num_rows:
        forget_joined(set(segments["recording"].to_pylist()), plan.config, destination)
        runner.run_to_end(_building(build_segments, segments, destination), on_progress, "segments")


def _building(
    build: Callable[[pa.Table], Built], todo: pa.Table, destination: Destination
) -> Callable[[], Built | None]:
    """Return what builds the graph of all pairs at first, and of those without a row whenever it is called again."""
    is_first = True

    def build_what_is_left() -> Built | None:
        nonlocal is_first
        left = todo if is_first else without(todo, destination.finished().ids)
        is_first = False
        return build(left) if left.num_rows else None

    return build_what_is_left


def fuse_graph(
    todo: pa.Table, plan: Plan, workers: Workers, runner: Runner, alike: frozenset[str] | None = None
) -> Any:
    """Build the graph that returns the outcome of each pair (WRITTEN); `alike` are ids that differ in case only."""
    # Enough tasks that every actor gets a few, whatever the size of the archive.
    size = max(1, min(PAIRS_A_TASK, todo.num_rows // (TASKS_AN_ACTOR * workers.actors)))
    todo = in_order_of_rows(todo)
    tasks = [todo.slice(start, size) for start in range(0, todo.num_rows, size)]
    graph = runner.begin_with(tasks, BYTES_A_BLOCK_GPU if workers.gpus else BYTES_A_BLOCK_CPU)
    limits = plan.config.max_bytes, plan.config.max_pixels
    loaded = runner.add_tasks(graph, load_sources, *limits, plan.pair_options, plan.register, workers=workers)
    fused = runner.add_actors(
        loaded,
        FuseActor,
        workers,
        method=plan.method,
        texts=plan.texts_of(todo),
        metrics=plan.config.metrics,
        threads=workers.threads,
        on_gpu=workers.gpus > 0,
        precision=plan.config.precision,
        guide=plan.config.guide,
        tiles=plan.config.tiles,
        keep_b=plan.config.also == "b",
    )
    return runner.add_tasks(fused, Writer(plan.config, plan.method.name, alike), workers=workers)
