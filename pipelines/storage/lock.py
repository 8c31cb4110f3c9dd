"""A lock on an output folder, so that one job at a time writes it.

The owner is named in the last of the files `_lock/00000001.json`, `00000002.json`, ... A job takes a lock that is free,
or whose owner is dead, by creating the next file, which must not exist yet. Only the owner deletes earlier files, so
that the last one always says who it is; a job that has ended leaves it with `released`.

No other condition is needed, because stores agree on no other: Ceph RGW 16 refuses every PUT with `If-Match`, and
ignores that of a DELETE.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from pipelines.errors.exceptions import JobStoppedError, UsageError
from pipelines.storage import objects as storage
from pipelines.storage.create import create_bytes

FOLDER = "_lock"
BEAT_SECONDS = 10.0
"""How often an owner rewrites its file."""
DEAD_SECONDS = 60.0
"""An owner on another machine that has not done so for this long is dead."""
POLL_SECONDS = 1.0
SAME_START_SECONDS = 60.0
"""Start times of one process, read twice, differ by less: the machine's clock may be set meanwhile."""

_held: set[str] = set()
"""Tokens of the locks that this process holds: one that it could not release, as on a full disk, still names it."""


class DestinationBusyError(UsageError):
    """Another job that is alive writes this folder."""


class LockLostError(JobStoppedError):
    """Another job has taken this one for dead, and writes its folder now."""


def _machine() -> str:
    """Return what two processes have in common exactly if each can see whether the other is alive."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


@dataclass(frozen=True)
class Owner:
    """Who holds a lock."""

    job: str
    """What it does, such as `fuse job`."""
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    host: str = field(default_factory=socket.gethostname)
    machine: str = field(default_factory=_machine)
    pid: int = field(default_factory=os.getpid)
    process_started: float = field(default_factory=lambda: psutil.Process().create_time())
    since: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
    beat: int = 0
    released: bool = False

    def __str__(self) -> str:
        article = "an" if self.job[0] in "aeiou" else "a"
        return f"{article} {self.job}, process {self.pid} on {self.host}, since {self.since}"

    def to_bytes(self) -> bytes:
        """Return the content of its file."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()

    @classmethod
    def parse(cls, data: bytes) -> "Owner | None":
        """Parse the content of a file; None if it is incomplete, or of a later version."""
        with suppress(ValueError, TypeError):
            return cls(**json.loads(data))
        return None

    def is_gone(self) -> bool | None:
        """Tell whether its process has ended; None where that cannot be seen from here."""
        if self.released:
            return True
        if self.machine != _machine():
            return None
        if self.pid == os.getpid():
            return self.token not in _held
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.process_started) < SAME_START_SECONDS
            return not is_same or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False


@contextmanager
def locked(
    uri: str, job: str, on_wait: Callable[[str], None] | None = None, *, patience: float = 0.0
) -> Iterator["Lock"]:
    """Hold the lock of an output folder during a `with` block, wherever the folder lies.

    An owner whose process has ended on this machine is replaced at once; one on another machine is watched for
    DEAD_SECONDS, after a word to `on_wait`. One that is alive is waited for at most `patience` seconds.

    Raises DestinationBusyError, naming the owner, if it is alive, and OSError from the store.
    """
    folder = storage.join(storage.absolute(uri), FOLDER)
    me = Owner(job)
    _held.add(me.token)
    try:
        lock = Lock(folder, *_acquire(folder, me, on_wait or (lambda _: None), patience))
        try:
            yield lock
        finally:
            lock.release()
    finally:
        _held.discard(me.token)


class Lock:
    """A lock that is held: a thread reports every BEAT_SECONDS that its owner is alive."""

    def __init__(self, folder: str, number: int, owner: Owner) -> None:
        self._folder, self._number, self._owner = folder, number, owner
        self._is_lost = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise LockLostError if another job has taken over, as after a pause longer than DEAD_SECONDS."""
        if not self._is_lost:
            return
        last, data = _last(self._folder)
        other = Owner.parse(data) if last > self._number else None
        raise LockLostError(
            f"{self._folder} was taken over by {other or 'another job, or deleted'}: this one gave no sign of life for "
            f"{DEAD_SECONDS:.0f} s. Finished work is kept, and the other job continues with the rest"
        )

    def release(self) -> None:
        """Give the lock back; where that cannot be written, the next job sees that its owner is gone."""
        self._over.set()
        self._thread.join(timeout=BEAT_SECONDS)
        if not self._is_lost:
            with suppress(OSError):
                self._write(replace(self._owner, released=True))

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            try:
                if not self._is_mine():
                    self._is_lost = True
                    return
                self._owner = replace(self._owner, beat=self._owner.beat + 1)
                self._write(self._owner)
            except OSError as error:  # the job itself notices a store that stays away
                logging.getLogger(__name__).debug("no heartbeat in %s: %s", self._folder, error)

    def _is_mine(self) -> bool:
        with suppress(FileNotFoundError):
            there = Owner.parse(storage.read_bytes(_file(self._folder, self._number)))
            is_last = not storage.exists(_file(self._folder, self._number + 1))
            return there is not None and there.token == self._owner.token and is_last
        return False

    def _write(self, owner: Owner) -> None:
        storage.write_bytes(_file(self._folder, self._number), owner.to_bytes(), flush=False)


def _acquire(folder: str, me: Owner, on_wait: Callable[[str], None], patience: float) -> tuple[int, Owner]:
    until = time.monotonic() + patience
    while True:
        last, data = _last(folder)
        if last:
            try:
                if not _is_over(folder, last, data, on_wait):
                    continue
            except DestinationBusyError:
                if time.monotonic() >= until:
                    raise
                time.sleep(POLL_SECONDS)
                continue
        mine = _file(folder, last + 1)
        if not create_bytes(mine, me.to_bytes()):
            continue
        there = _numbers(folder)
        if max(there, default=0) > last + 1:  # that number had been held, and deleted, since it was looked for
            storage.delete(mine)
            continue
        for number in there - {last + 1}:
            storage.delete(_file(folder, number))
        return last + 1, me


def _is_over(folder: str, number: int, data: bytes, on_wait: Callable[[str], None]) -> bool:
    """Tell whether an owner has ended; False if there is another one now. Raises DestinationBusyError."""
    owner = Owner.parse(data)
    gone = owner.is_gone() if owner else None
    if gone:
        return True
    if gone is False:
        raise _busy(folder, owner)
    on_wait(
        f"{folder.rpartition('/')[0]} belongs to {owner or 'another job'}; waiting up to {DEAD_SECONDS:.0f} s for a "
        "sign of life from it"
    )
    since = time.monotonic()
    while time.monotonic() - since < DEAD_SECONDS:
        time.sleep(POLL_SECONDS)
        last, now = _last(folder)
        if last != number:
            return False
        if now != data:
            later = Owner.parse(now)
            if later and later.released:
                return True
            raise _busy(folder, later)
    return True


def _busy(folder: str, owner: Owner | None) -> DestinationBusyError:
    how = " (its heartbeats are there)" if owner is None or owner.machine != _machine() else ""
    return DestinationBusyError(
        f"{folder.rpartition('/')[0]} is being written by {owner or 'another job'}{how}. Wait until it has ended, stop "
        "it, or choose another --out."
    )


def _last(folder: str) -> tuple[int, bytes]:
    """Return the last number of a lock and what its file says; 0 where nobody has held it."""
    while numbers := _numbers(folder):
        with suppress(FileNotFoundError):  # its owner has been replaced, and deleted it, since
            return max(numbers), storage.read_bytes(_file(folder, max(numbers)))
    return 0, b""


def _numbers(folder: str) -> set[int]:
    names = (uri.rpartition("/")[2].removesuffix(".json") for uri in storage.list_files(folder))
    return {int(name) for name in names if name.isdecimal()}


def _file(folder: str, number: int) -> str:
    return storage.join(folder, f"{number:08d}.json")
