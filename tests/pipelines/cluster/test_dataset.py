"""Stages that take whole blocks, on CPUs and on GPUs."""

import pyarrow as pa
import pytest

from pipelines.cluster.dataset import add_actors, add_tasks, begin_with
from pipelines.cluster.runner import Workers

BLOCKS = [pa.table({"number": list(range(start, start + 3))}) for start in (0, 3)]


class Counter:
    """Adds to each row how many its block has."""

    def __init__(self, more: int) -> None:
        self.more = more

    def __call__(self, block: pa.Table) -> pa.Table:
        return count(block, self.more)


def count(block: pa.Table, more: int) -> pa.Table:
    return block.append_column("rows", pa.array([block.num_rows + more] * block.num_rows))


@pytest.mark.usefixtures("ray_here")
def test_stages_take_blocks_as_they_are():
    tasks = add_tasks(begin_with(BLOCKS), count, 10)
    actors = add_actors(begin_with(BLOCKS), Counter, Workers(1, 0.5, 0.0, 1), more=20)
    assert [row["rows"] for row in tasks.take_all()] == [13] * 6
    assert [row["rows"] for row in actors.take_all()] == [23] * 6


@pytest.mark.usefixtures("ray_here")
def test_a_gpu_is_asked_for_and_may_have_whole_blocks_too():
    graph = add_actors(begin_with(BLOCKS), Counter, Workers(2, 1.0, 0.5, 1), more=0)
    stage = graph._logical_plan.dag
    assert stage.batch_size is None
    assert stage.ray_remote_args["num_gpus"] == 0.5
    assert (stage.compute.min_size, stage.compute.initial_size, stage.compute.max_size) == (1, 2, 2)
