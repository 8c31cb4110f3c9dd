"""Running the stages of a job in this process."""

import threading

import pyarrow as pa
import pytest
import torch

from pipelines.cluster import inline
from pipelines.cluster.inline import InlineRunner, join_small, runs_inline
from pipelines.cluster.runner import Built, Progress, StoreLostError, Workers
from pipelines.errors.exceptions import UsageError

WORKERS = Workers(actors=1, cpus=1, gpus=0, threads=1)
OUTCOME = pa.schema([(name, pa.string()) for name in ("pair_id", "error_code", "stopped")])


def ids(*names: str) -> pa.Table:
    return pa.table({"pair_id": list(names)})


def split(block: pa.Table):
    """Yield row after row, as a stage that reads files does."""
    yield from (block.slice(number, 1) for number in range(block.num_rows))


class Numbered:
    """Appends how many blocks it has had, and where it runs."""

    def __init__(self, start: int) -> None:
        self.count = start

    def __call__(self, block: pa.Table) -> pa.Table:
        self.count += 1
        return block.append_column("block", pa.array([self.count] * block.num_rows))


def outcome(block: pa.Table, lost: str | None = None) -> pa.Table:
    rows = [
        {"pair_id": one, "error_code": "empty_file" if one == "bad" else None, "stopped": lost if one == "z" else None}
        for one in block["pair_id"].to_pylist()
    ]
    return pa.Table.from_pylist(rows, OUTCOME)


def test_blocks_pass_all_stages_in_order_and_an_actor_is_made_once():
    with InlineRunner() as runner:
        graph = runner.begin_with([ids("a", "b"), ids("c")], max_block_bytes=1)
        graph = runner.add_actors(runner.add_tasks(graph, split), Numbered, WORKERS, start=10)
        rows = [row for block in runner.results(graph) for row in block.to_pylist()]
    assert [(row["pair_id"], row["block"]) for row in rows] == [("a", 11), ("b", 12), ("c", 13)]


def test_outputs_of_a_task_are_joined_up_to_the_bound():
    small = [ids("a" * 40), ids("b" * 40), ids("c" * 40)]
    assert [block.num_rows for block in join_small(small, 2 * small[0].nbytes)] == [2, 1]
    assert [block.num_rows for block in join_small(small, 1)] == [1, 1, 1]
    assert list(join_small([], 1)) == []


def run(*names: str, lost: str | None = None) -> list[Progress]:
    heard = list[Progress]()
    with InlineRunner() as runner:
        graph = runner.add_tasks(runner.begin_with([ids(name) for name in names]), outcome, lost)
        runner.run_to_end(lambda: Built(graph, len(names), WORKERS), heard.append, "segments")
    return heard


def test_progress_counts_rows_and_failures():
    assert [(one.done, one.failed) for one in run("a", "bad", "c")] == [(0, 0), (1, 0), (2, 1), (3, 1)]
    assert {(one.total, one.unit) for one in run("a", "b")} == {(2, "segments")}


def test_a_store_that_is_lost_ends_the_job():
    with pytest.raises(StoreLostError, match="no space"):
        run("a", "z", "c", lost="DEST cannot be written: no space")


def test_an_error_of_a_stage_ends_the_job_and_its_thread():
    def fail(block: pa.Table) -> pa.Table:
        raise ZeroDivisionError(block["pair_id"][0].as_py())

    def run_failing() -> None:
        with InlineRunner() as runner:
            graph = runner.add_tasks(runner.begin_with([ids("a"), ids("b")]), fail)
            graph = runner.add_actors(graph, Numbered, WORKERS, start=0)
            runner.run_to_end(lambda: Built(graph, 2, WORKERS), lambda _: None)

    with pytest.raises(ZeroDivisionError, match="a"):
        run_failing()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_nothing_left_to_do_is_nothing_run():
    with InlineRunner() as runner:
        runner.run_to_end(lambda: None, lambda _: pytest.fail("nothing to report"))


def test_the_caller_keeps_its_number_of_threads():
    before = torch.get_num_threads()
    with InlineRunner() as runner:
        graph = runner.add_tasks(runner.begin_with([ids("a")]), lambda block: (torch.set_num_threads(7), block)[1])
        graph = runner.add_tasks(graph, outcome)
        runner.run_to_end(lambda: Built(graph, 1, WORKERS), lambda _: None)
    assert torch.get_num_threads() == before


def test_a_gpu_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with InlineRunner() as runner:
        assert runner.workers(None, None, 5).gpus == 0
        with pytest.raises(UsageError):
            runner.workers(None, 1.0, 5)


@pytest.mark.parametrize(
    ("choice", "actors", "gpus", "pairs", "cluster", "expected"),
    [
        ("auto", None, None, 99, None, True),
        ("auto", 1, 0, 99, None, True),
        ("auto", None, None, 100, None, False),
        ("auto", 2, None, 10, None, False),
        ("auto", None, 0.5, 10, None, False),
        ("auto", None, None, 10, "ray://head:10001", False),
        ("inline", 2, 0.5, 10_000, "ray://head:10001", True),
        ("ray", None, None, 1, None, False),
    ],
)
def test_few_pairs_without_a_cluster_run_here(monkeypatch, choice, actors, gpus, pairs, cluster, expected):
    monkeypatch.setattr(inline, "_is_connected", lambda: False)  # other tests of this process may be
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if cluster:
        monkeypatch.setenv("RAY_ADDRESS", cluster)
    assert runs_inline(choice, actors, gpus, pairs) is expected
