"""One job at a time writes an output folder, and a dead one keeps nobody out."""

import errno
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from pipelines.storage import lock as locks
from pipelines.storage import objects as storage
from pipelines.storage.lock import DestinationBusyError, LockLostError, Owner, locked

HOLD = """
import sys
from pipelines.storage.lock import locked
with locked(sys.argv[1], "fuse job"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats that come, and are missed, within a second."""
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(locks, "DEAD_SECONDS", 2.0)
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.05)


@pytest.fixture
def soon_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """For owners that never beat, so that no slow machine makes a living one seem dead."""
    monkeypatch.setattr(locks, "DEAD_SECONDS", 0.3)
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.05)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Owners that this process writes seem to be on another machine."""
    monkeypatch.setattr(Owner, "is_gone", lambda self: True if self.released else None)


@pytest.fixture
def other(place: str) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, place]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def owner_of(place: str) -> Owner:
    owner = Owner.parse(storage.read_bytes(storage.list_files(f"{place}/_lock")[-1]))
    assert owner
    return owner


def test_a_job_that_is_alive_is_named_and_left_alone(place: str, other: "subprocess.Popen[str]") -> None:
    before = storage.list_files(place)
    with pytest.raises(DestinationBusyError) as refused, locked(place, "training run"):
        pass
    owner = owner_of(place)
    for said in (place, "fuse job", f"process {other.pid}", owner.host, owner.since):
        assert said in str(refused.value)
    assert storage.list_files(place) == before
    assert owner.pid == other.pid


def test_a_job_that_was_killed_on_this_machine_is_replaced_at_once(place: str, other: "subprocess.Popen[str]") -> None:
    other.kill()
    # It is a zombie, soon, until its parent waits for it, as many never do.
    while psutil.Process(other.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    waited: list[str] = []
    with locked(place, "fuse job", waited.append):
        assert owner_of(place).pid != other.pid
        assert len(storage.list_files(place)) == 1
    assert waited == []


def test_a_process_of_the_same_number_is_another_one(place: str) -> None:
    with locked(place, "fuse job"):
        (uri,) = storage.list_files(place)
        earlier = replace(owner_of(place), process_started=1e9)
    storage.write_bytes(uri, earlier.to_bytes())
    with locked(place, "fuse job"):
        assert owner_of(place).token != earlier.token


def test_a_lock_that_was_given_back_is_free(place: str) -> None:
    for number in (1, 2, 3):
        with locked(place, "fuse job"):
            assert storage.list_files(place) == [f"{place}/_lock/{number:08d}.json"]
        assert owner_of(place).released


def test_a_lock_that_could_not_be_given_back_keeps_the_same_process_out_no_longer(place: str, monkeypatch) -> None:
    def full(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk, locked(place, "fuse job"):
        disk.setattr(storage, "write_bytes", full)
    assert not owner_of(place).released
    with locked(place, "fuse job"), pytest.raises(DestinationBusyError), locked(place, "training run"):
        pass


@pytest.mark.usefixtures("quick", "elsewhere")
def test_a_job_on_another_machine_is_alive_while_it_beats(place: str) -> None:
    waited: list[str] = []
    with locked(place, "fuse job") as lock:
        with pytest.raises(DestinationBusyError), locked(place, "fuse job", waited.append):
            pass
        lock.check()
    assert len(waited) == 1


@pytest.mark.usefixtures("soon_dead", "elsewhere")
def test_a_job_on_another_machine_without_a_heartbeat_is_replaced(place: str) -> None:
    waited: list[str] = []
    storage.write_bytes(f"{place}/_lock/00000007.json", Owner("fuse job", host="gone").to_bytes())
    with locked(place, "fuse job", waited.append):
        assert storage.list_files(place) == [f"{place}/_lock/00000008.json"]
    assert "gone" in waited[0]


@pytest.mark.usefixtures("soon_dead", "elsewhere")
def test_a_file_that_is_no_owner_of_ours_is_treated_as_one_on_another_machine(place: str) -> None:
    storage.write_bytes(f"{place}/_lock/00000001.json", b"{")
    with locked(place, "fuse job"):
        assert storage.list_files(place) == [f"{place}/_lock/00000002.json"]


@pytest.mark.usefixtures("quick")
def test_a_job_that_was_taken_for_dead_notices(place: str) -> None:
    with locked(place, "fuse job") as lock:
        lock.check()
        storage.write_bytes(f"{place}/_lock/00000002.json", Owner("training run").to_bytes())
        lock._thread.join(timeout=10)
        with pytest.raises(LockLostError, match="training run"):
            lock.check()
    assert not owner_of(place).released


@pytest.mark.usefixtures("quick")
def test_a_store_that_ignores_the_condition_gives_the_lock_to_the_last(place: str) -> None:
    with locked(place, "fuse job") as lock:
        deadline = time.monotonic() + 10
        while lock._thread.is_alive() and time.monotonic() < deadline:
            # Again, as a heartbeat that had just read its own file writes over it.
            storage.write_bytes(f"{place}/_lock/00000001.json", Owner("training run").to_bytes())
            lock._thread.join(timeout=0.3)
        with pytest.raises(LockLostError):
            lock.check()
    assert owner_of(place).job == "training run"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("before", ["nothing", "a dead job"])
def test_of_many_jobs_at_once_one_at_a_time_holds_it(place: str, before: str) -> None:
    if before == "a dead job":
        dead = replace(Owner("fuse job"), process_started=1e9)
        storage.write_bytes(f"{place}/_lock/00000005.json", dead.to_bytes())
    start, inside, most, done = threading.Barrier(6), list[int](), list[int](), list[int]()

    def work(number: int) -> None:
        start.wait()
        with locked(place, "fuse job", patience=120):
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)
            done.append(number)

    threads = [threading.Thread(target=work, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert sorted(done) == list(range(6))
    assert set(most) == {1}
    assert len(storage.list_files(place)) == 1
