"""The commands as a person types them: `fuse` in a process of its own, with a Ray of its own."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner

from jobs.command_line import main
from tests.archives import make_archive
from tests.end_to_end.test_fuse_archive import rows_of
from tests.processes import start_job

pytestmark = pytest.mark.slow

BROKEN, ALONE = "street_001", "street_002"


@dataclass(frozen=True)
class Ended:
    """A process that has ended: what it returned and said, what lay in DEST then and which pairs had rows."""

    code: int
    said: str
    left: set[str]
    done: list[str]


@dataclass(frozen=True)
class Story:
    """One command three times over one archive: stopped with Ctrl-C, then killed, then left alone."""

    ids: list[str]
    """The pairs; one of them is broken."""
    out: Path
    stopped: Ended
    killed: Ended
    finished: Ended


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("commands")
    archive, out = folder / "in", folder / "out"
    ids = make_archive(archive, 25, size=(480, 360))
    (archive / "visible" / f"{BROKEN}.png").write_text("not an image")
    (archive / "infrared" / f"{ALONE}.png").unlink()
    # A pair takes about a second with the costly qp, so that each signal arrives with some of them left.
    words = (archive, "--out", out, "--no-tracking", "--metrics", "vif,qp", "--images", "both")

    stopped = end(start_job("fuse", *words), out, signal.SIGINT)
    killed = end(start_job("fuse", *words), out, signal.SIGKILL)
    finished = end(start_job("fuse", *words), out)
    return Story([name for name in ids if name != ALONE], out, stopped, killed, finished)


def end(process: subprocess.Popen[str], out: Path, sent: signal.Signals | None = None) -> Ended:
    """Wait for the end of a process, to which a signal is sent as soon as it has written rows of its own."""
    try:
        if sent is not None:
            wait_for_more_rows(out, process)
            process.send_signal(sent)
        said, _ = process.communicate(timeout=500 if sent is None else 60)
    finally:
        process.kill()
    left = {path.name for path in out.iterdir()}
    return Ended(process.returncode, said, left, [row["pair_id"] for row in rows_of(out)])


def wait_for_more_rows(out: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    before = set((out / "pairs").glob("*.parquet"))
    while before >= set((out / "pairs").glob("*.parquet")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ctrl_c_stops_cleanly(story: Story) -> None:
    stopped = story.stopped
    assert stopped.code == 130, stopped.said
    assert "the same command again goes on" in stopped.said
    assert "Traceback" not in stopped.said
    assert 0 < len(stopped.done) < len(story.ids)
    assert "_SUCCESS.json" not in stopped.left


def test_the_same_command_goes_on_after_ctrl_c_and_after_a_kill(story: Story) -> None:
    stopped, killed = story.stopped.done, story.killed.done
    assert set(stopped) < set(killed) < set(story.ids)
    before = re.search(r"\((\d+) of the pairs were done before\)", story.finished.said)
    assert before, story.finished.said
    # A worker of the killed job may have put what it was just putting.
    assert len(killed) <= int(before[1]) < len(story.ids)
    assert "_SUCCESS.json" not in story.killed.left
    assert "_SUCCESS.json" in story.finished.left


def test_a_killed_job_loses_nothing_and_doubles_nothing(story: Story) -> None:
    assert story.killed.code == -signal.SIGKILL
    rows = rows_of(story.out)
    assert [row["pair_id"] for row in rows] == story.ids
    assert {row["pair_id"] for row in rows if row["status"] == "failed"} == {BROKEN}
    assert len(list((story.out / "images").glob("*.png"))) == len(story.ids) - 1


def test_a_dirty_archive_ends_with_a_table_the_report_and_exit_code_3(story: Story) -> None:
    code, said = story.finished.code, story.finished.said
    assert code == 3, said
    assert "1 images have no partner" in said
    assert f"{ALONE}.png" in said
    assert "23 of 24 pairs fused" in said
    assert "1 failed" in said
    assert "report.html" in said
    assert "Visual information fidelity" in said
    # Nothing but our own words: no word of Ray, no warning, no traceback.
    assert not [line for line in said.splitlines() if "ray" in line.lower() or "Warning" in line or "Traceback" in line]


@pytest.fixture
def tracking_as_before() -> Iterator[None]:
    before = mlflow.get_tracking_uri()
    yield
    mlflow.set_tracking_uri(before)


@pytest.mark.usefixtures("ray_here", "tracking_as_before")
def test_the_demo_fuses_what_it_draws_and_says_where_to_look(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["demo", "--out", str(tmp_path / "demo"), "--count", "2"])
    assert result.exit_code == 0, result.output
    assert "2 of 2 pairs fused" in result.output
    assert str(tmp_path / "demo" / "fused" / "report.html") in result.output
    assert (tmp_path / "demo" / "fused" / "report.html").is_file()
    assert (tmp_path / "demo" / "mlflow.db").is_file()
    assert len(list((tmp_path / "demo" / "fused" / "images").glob("*.png"))) == 2
