"""The memory of a job does not grow with its archive: what is not being worked on waits in the store that it is in."""

import re
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from pipelines.cluster.ray_cluster import FEWEST_LOGICAL_CPUS
from tests.archives import make_archive
from tests.chaos.killing import kill_all
from tests.processes import start_job
from tests.tally import LINES

pytestmark = [pytest.mark.slow, pytest.mark.extended, pytest.mark.timeout(900)]

# Ray takes a third of a machine's memory for objects otherwise, and with it much could pile up unnoticed.
STORE = 80_000_000
ALLOWED = 1.2
LOOK_SECONDS = 1.0  # the memory of a Ray takes a tenth of a second to add up


def test_ten_times_the_pairs_take_no_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = 500, 5000
    make_archive(tmp_path / "in", many, size=(40, 32))
    peaks = [peak(tmp_path, pairs, monkeypatch) for pairs in (few, many)]
    tell(f"{few:,} and {many:,} pairs of 40x32", peaks)
    assert peaks[1] < ALLOWED * peaks[0]


def test_large_pairs_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = 6, 22
    width, height = 1600, 1200
    make_archive(tmp_path / "in", many, size=(width, height))
    decoded = many * width * height * 4  # A in colour and B in grey
    assert decoded > 2 * STORE
    peaks = [peak(tmp_path, pairs, monkeypatch) for pairs in (few, many)]
    tell(f"{few} and {many} pairs of {width}x{height}", peaks)
    assert peaks[1] < ALLOWED * peaks[0]


def peak(folder: Path, pairs: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Fuse some of the pairs with a Ray of its own, and return the most bytes that all its processes had."""
    monkeypatch.setenv("RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES", str(STORE))
    out = folder / f"out-{pairs}"
    options = ("--no-tracking", "--runner", "ray", "--limit", pairs, "--metrics", "none")
    command = ("fuse", folder / "in", "--out", out, *options)
    assert FEWEST_LOGICAL_CPUS == 4
    with (folder / "said").open("w+") as said:
        # As many copies of the network for few pairs as for many: they take most of the memory.
        process, most = start_job(*command, "--actors", 2, output=said.fileno()), 0
        try:
            while process.poll() is None:
                most = max(most, memory_of(process))
                time.sleep(LOOK_SECONDS)
        finally:
            kill_all(process)
        said.seek(0)
        assert process.returncode == 0, said.read()
    return most


def memory_of(process: subprocess.Popen[str]) -> int:
    """Add up a process and all that it has started, memory that several share once.

    Without what is mapped from files, libraries above all: how much of it counts as a process's own depends on what
    else runs on the machine.
    """
    try:
        processes = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(map(own_memory, processes))


def own_memory(process: psutil.Process) -> int:
    try:
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return 0
    kinds = re.findall(r"^(?:Pss_Anon|Pss_Shmem): +(\d+) kB$", rollup, re.MULTILINE)
    assert len(kinds) == 2 or not rollup, rollup
    return 1024 * sum(map(int, kinds))


def tell(what: str, peaks: list[int]) -> None:
    shown = ", ".join(f"{one / 2**20:,.0f} MiB" for one in peaks)
    LINES.append(f"peak memory of a job on {what}: {shown} ({peaks[1] / peaks[0]:.2f} times)")
