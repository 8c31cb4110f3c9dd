"""A fuse job on a store with faults, stopped between an image and its row, ends as if nothing had been.

tests/chaos/test_kills.py kills every part of one that runs on Ray.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
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
from tests.stages import run_stages

PAIRS, PAIRS_A_BLOCK = 20, 4
FAULTS: tuple[Fault, ...] = ("slow_down", "reset", "lost_answer", "half_body")


@pytest.fixture
def undisturbed(tmp_path: Path) -> Undisturbed:
    """What the stages of a job make of the pairs, one after the other."""
    make_dirty_archive(tmp_path / "in", PAIRS)
    run_stages(plan_fuse(config_of(command(tmp_path / "in", tmp_path / "out"))))
    return Undisturbed(tmp_path / "in", tmp_path / "out", rows_of(tmp_path / "out"))


def each_once() -> Chooser:
    """Choose each fault once, for every twelfth request."""
    numbers = count(1)

    def choose(_: str) -> Fault | None:
        place, rest = divmod(next(numbers), 12)
        return FAULTS[place - 1] if rest == 0 and place <= len(FAULTS) else None

    return choose


@contextmanager
def faults(store: ObjectStore) -> Iterator[FaultProxy]:
    """A way to the store on which each fault is met, for as long as the block runs."""
    with FaultProxy(store.port).running() as proxy, pytest.MonkeyPatch.context() as environment:
        proxy.choose = each_once()
        environment.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        S3FileSystem.clear_instance_cache()
        yield proxy
    S3FileSystem.clear_instance_cache()


def fuse(undisturbed: Undisturbed, out: str) -> Result:
    words = [str(word) for word in command(undisturbed.archive, out, "inline")]
    return CliRunner().invoke(main, words, env={"COLUMNS": "200"})


def test_a_job_that_is_stopped_between_an_image_and_its_row_resumes(
    undisturbed: Undisturbed, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = object_store.new_bucket()
    monkeypatch.setattr(graph, "BYTES_A_BLOCK_CPU", PAIRS_A_BLOCK * 40 * 32 * 4)
    write_pairs, calls = Destination.write_pairs, count(1)

    def stop_at_the_third(destination: Destination, rows: Any) -> None:
        if next(calls) == 3:
            raise KeyboardInterrupt
        write_pairs(destination, rows)

    with faults(object_store) as proxy:
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
