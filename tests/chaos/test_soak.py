"""What the soak counts as right, and what not."""

import random
from pathlib import Path

import pytest

from tests.chaos import soak
from tests.chaos.soak import HungError, Target, disturb


class FakeJob:
    """Runs until it is killed, or ends at once with a code."""

    def __init__(self, code: int | None) -> None:
        self.code = code

    def poll(self) -> int | None:
        return self.code

    def kill(self) -> None:
        self.code = -9


def target(log: Path, *codes: int | None) -> Target:
    log.write_text("said")
    jobs = iter(map(FakeJob, codes))

    def strike(job: soak.Job, _: random.Random) -> str:
        job.kill()
        return "driver"

    return Target(lambda: next(jobs), strike, log)


def test_a_command_is_given_until_it_ends_by_itself(tmp_path: Path) -> None:
    ended = disturb(target(tmp_path / "log", None, None, 3), random.Random(0), 5, 0.0, 0.0)
    assert [code for code, _ in ended.ends] == [-9, -9, 3]
    assert ended.killed == ["driver", "driver"]
    assert (ended.code, ended.said) == (3, "said")


def test_a_job_that_fails_by_itself_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="without being killed: 1"):
        disturb(target(tmp_path / "log", None, 1, 1, 0), random.Random(0), 1, 0.0, 0.0)


def test_a_job_that_does_not_end_after_the_last_kill_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "HANG_SECONDS", 0.1)
    with pytest.raises(HungError, match="no end within"):
        disturb(target(tmp_path / "log", None, None), random.Random(0), 1, 0.0, 0.0)
