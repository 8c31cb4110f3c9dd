"""A graph of stages, each of which takes a block as it is and gives a block back."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import ray.data

from pipelines.cluster.heartbeat import ReportingActor, add_board, reporting
from pipelines.cluster.runner import Workers

Graph = ray.data.Dataset
"""Stages that are connected and do not run yet."""

AS_IT_IS: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow", "zero_copy_batch": True}
NEVER = -1.0


def begin_with(blocks: list[pa.Table]) -> Graph:
    """Begin a graph with these blocks."""
    # `from_arrow` has workers look at the blocks, and waits for the first of them to start.
    graph: Graph = ray.data.from_blocks(blocks)
    add_board(graph.context)
    # Ray removes actors that wait for blocks, one after the other, while a slow store is read; each costs its start.
    scaling = replace(graph.context.autoscaling_config, actor_pool_util_downscaling_threshold=NEVER)
    graph.context.autoscaling_config = scaling
    return graph


def add_tasks(graph: Graph, stage: Callable[..., Any], *arguments: Any, workers: Workers | None = None) -> Graph:
    """Append a stage that runs as tasks on CPUs, beside actors where there are `workers`.

    `arguments` follow the block.
    """
    return graph.map_batches(
        reporting(stage, arguments),
        num_cpus=workers.task_cpus if workers else 1.0,
        compute=ray.data.TaskPoolStrategy(workers.tasks if workers else None),
        **AS_IT_IS,
    )


def add_actors(
    graph: Graph, stage: Callable[..., Callable[[pa.Table], pa.Table]], workers: Workers, **arguments: Any
) -> Graph:
    """Append a stage that runs in actors, one for each of the workers, made with `arguments`."""
    # `map_batches` refuses whole blocks to GPUs, for blocks may be large, and wants a number of rows to which it would
    # join blocks: the more of them, the larger their images. Ours are bounded in bytes, so this is what lies under it.
    return graph.map_batches_internal(
        type(stage.__name__, (ReportingActor,), {"stage": stage}),
        fn_constructor_kwargs=arguments,
        # Ray reserves room for the fewest actors before it runs anything else: one, on whatever is left of a cluster.
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers.actors, initial_size=workers.actors),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus,
        **AS_IT_IS,
    )
