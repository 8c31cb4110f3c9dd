"""A fuse job on a store with faults, stopped between an image and its row, ends as if nothing had been.

tests/chaos/test_kills.py kills every part of one that runs on Ray.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from s3fs import S3FileSystem

from jobs.command_line import main
from jobs.exit_codes import EXIT_INTERRUPTED
from pipelines.fuse import graph
from pipelines.fuse.destination import Destination
from pipelines.fuse.plan import plan_fuse
from pipelines.storage import objects as storage
from tests.chaos.killing import Ended
from tests.chaos.undisturbed import Undisturbed, check, command, config_of, make_dirty_archive
from tests.end_to_end.test_fuse_archive import rows_of
from tests.fault_proxy import Chooser, Fault, FaultProxy
from tests.object_store import ObjectStore
from tests.other_stores import KINDS, broken, serve
from tests.stages import run_stages

PAIRS, PAIRS_A_BLOCK = 20, 4
FAULTS: tuple[Fault, ...] = ("slow_down", "reset", "lost_answer", "half_body")


Faulty = Callable[[], AbstractContextManager[FaultProxy]]


@pytest.fixture(params=["s3", *(pytest.param(kind, marks=pytest.mark.extended) for kind in KINDS)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Faulty]]:
    """A fresh bucket, and a way to its store on which each fault is met once."""
    if request.param == "s3":
        there = request.getfixturevalue("object_store")
        yield there.new_bucket(), lambda: faults(there)
        return
    with serve(request.param, tmp_path) as other, other.reached_at(other.port):
        yield other.bucket, lambda: broken(other)


@pytest.fixture
def undisturbed(tmp_path: Path, store: tuple[str, Faulty]) -> Undisturbed:
    """What the stages of a job make of pairs in the store, one after the other."""
    make_dirty_archive(tmp_path / "in", PAIRS)
    source = storage.join(store[0], "in")
    for file in (tmp_path / "in").rglob("*.png"):
        storage.write_bytes(storage.join(source, str(file.relative_to(tmp_path / "in"))), file.read_bytes())
    run_stages(plan_fuse(config_of(command(source, tmp_path / "out"))))
    return Undisturbed(source, tmp_path / "out", rows_of(tmp_path / "out"))


def each_once() -> Chooser:
    """Choose each fault once, for every twelfth request."""
    numbers = count(1)

    def choose(_: str) -> Fault | None:
        place, rest = divmod(next(numbers), 12)
        return FAULTS[place - 1] if rest == 0 and place <= len(FAULTS) else None

    return choose


@contextmanager
def faults(store: ObjectStore) -> Iterator[FaultProxy]:
    """Put a proxy between this process and the S3 server, for as long as the block runs."""
    with FaultProxy(store.port).running() as proxy, pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        S3FileSystem.clear_instance_cache()
        yield proxy
    S3FileSystem.clear_instance_cache()


def fuse(undisturbed: Undisturbed, out: str) -> Result:
    words = [str(word) for word in command(undisturbed.archive, out, "inline")]
    return CliRunner().invoke(main, words, env={"COLUMNS": "200"})


def test_a_job_that_is_stopped_between_an_image_and_its_row_resumes(
    undisturbed: Undisturbed, store: tuple[str, Faulty], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = storage.join(store[0], "out")
    monkeypatch.setattr(graph, "BYTES_A_BLOCK_CPU", PAIRS_A_BLOCK * 40 * 32 * 4)
    write_pairs, calls = Destination.write_pairs, count(1)

    def stop_at_the_third(destination: Destination, rows: Any) -> None:
        if next(calls) == 3:
            raise KeyboardInterrupt
        write_pairs(destination, rows)

    with store[1]() as proxy:
        proxy.choose = each_once()
        monkeypatch.setattr(Destination, "write_pairs", stop_at_the_third)
        stopped = fuse(undisturbed, out)
        done = len(rows_of(out))
        assert stopped.exit_code == EXIT_INTERRUPTED, stopped.output
        assert "Interrupted" in stopped.output
        assert len(storage.list_files(storage.join(out, "images"))) > done > 1
        assert not storage.exists(storage.join(out, "_SUCCESS.json"))
        resumed = fuse(undisturbed, out)
    assert set(proxy.met) == set(FAULTS)
    assert re.search(rf"\({done} ", resumed.output)
    check(undisturbed, out, Ended([(one.exit_code, one.output) for one in (stopped, resumed)]))
