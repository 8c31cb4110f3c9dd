"""Temporary folders: gone at the end, and after a kill with the next one."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.storage.scratch import YOUNG_SECONDS, scratch_folder

HOLD = """
import sys
from pipelines.storage.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "segment.mp4").write_bytes(b"much")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder for this test and the processes that it starts."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@contextmanager
def other() -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """Another process that holds a folder, which is given too; it is old."""
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    try:
        folder = Path(process.stdout.readline().strip())
        make_old(folder)
        yield process, folder
    finally:
        process.kill()
        process.communicate()


def make_old(folder: Path) -> None:
    os.utime(folder, (0, folder.stat().st_mtime - 2 * YOUNG_SECONDS))


def test_a_folder_is_gone_at_the_end(temporary: Path) -> None:
    with scratch_folder() as folder:
        (folder / "segment.mp4").write_bytes(b"much")
    assert not list(temporary.iterdir())


def test_the_folder_of_a_killed_process_is_removed_by_the_next_one_and_that_of_a_living_one_stays() -> None:
    with other() as (living, kept), other() as (killed, left):
        killed.kill()
        killed.wait()
        with scratch_folder() as mine:
            assert kept.is_dir()
            assert living.poll() is None
            assert mine.is_dir()
            assert not left.exists()


def test_what_is_young_or_named_otherwise_or_a_link_stays(temporary: Path) -> None:
    young, strange, target = (temporary / name for name in ("upfusion-scratch-young", "scratch-old", "precious"))
    for folder in (young, strange, target):
        folder.mkdir()
        (folder / "file").touch()
    make_old(strange)
    make_old(target)
    link = temporary / "upfusion-scratch-link"
    link.symlink_to(target)
    with scratch_folder():
        assert {young, strange, target, link} <= set(temporary.iterdir())
    assert all((folder / "file").exists() for folder in (young, strange, target))
