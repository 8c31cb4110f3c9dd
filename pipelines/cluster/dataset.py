"""A graph of stages, each of which takes a block as it is and gives a block back."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import ray.data

from pipelines.cluster.ray_cluster import Workers

Graph = ray.data.Dataset
"""Stages that are connected and do not run yet."""

AS_IT_IS: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow", "zero_copy_batch": True}


def begin_with(blocks: list[pa.Table]) -> Graph:
    """Begin a graph with these blocks."""
    # `from_arrow` has workers look at the blocks, and waits for the first of them to start.
    graph: Graph = ray.data.from_blocks(blocks)
    return graph


def add_tasks(graph: Graph, stage: Callable[..., Any], *arguments: Any) -> Graph:
    """Append a stage that runs as tasks on CPUs; `arguments` follow the block."""
    return graph.map_batches(stage, fn_args=arguments, **AS_IT_IS)


def add_actors(
    graph: Graph, stage: Callable[..., Callable[[pa.Table], pa.Table]], workers: Workers, **arguments: Any
) -> Graph:
    """Append a stage that runs in actors, one for each of the workers, made with `arguments`."""
    # `map_batches` refuses whole blocks to GPUs, for blocks may be large, and wants a number of rows to which it would
    # join blocks: the more of them, the larger their images. Ours are bounded in bytes, so this is what lies under it.
    return graph.map_batches_internal(
        stage,
        fn_constructor_kwargs=arguments,
        compute=ray.data.ActorPoolStrategy(size=workers.actors),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus,
        **AS_IT_IS,
    )
