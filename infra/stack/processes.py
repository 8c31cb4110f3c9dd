"""Processes that are started here, and ended by the ids that were written down."""

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

LINES_SHOWN = 10
# When a process began is computed from the machine's clock, which may be set while it runs.
CLOCK_STEP = 10.0


class StackError(RuntimeError):
    """Something did not start; the text says why and ends with the last lines of its log."""


class Processes:
    """Starts servers, each with a log of its own in `logs`.

    With `bound` they end with this process, even if that is killed; without, they go on when it has ended.
    """

    def __init__(self, logs: Path, *, bound: bool) -> None:
        self.logs = logs
        self.bound = bound
        self.started: dict[str, dict[str, Any]] = {}
        """By name: process id, when it began, and the signal that ends it."""
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def serve(
        self,
        name: str,
        *command: str | Path,
        environment: Mapping[str, str] | None = None,
        user: pwd.struct_passwd | None = None,
        ended_by: signal.Signals = signal.SIGKILL,
        **options: Any,
    ) -> "subprocess.Popen[bytes]":
        """Start a server, as another user if one is given; one of that name that has ended is forgotten."""
        with (self.logs / f"{name}.out").open("ab") as log:
            server = subprocess.Popen(
                [*_prefix(user, bound=self.bound), *map(str, command)],
                env=dict(environment or os.environ),
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for whoever started it, whose last steps may still need the server.
                start_new_session=True,
                **{"stdin": subprocess.DEVNULL, **options},
            )
        self._children[name] = server
        began = psutil.Process(server.pid).create_time()
        self.started[name] = {"pid": server.pid, "began": began, "ended_by": int(ended_by)}
        return server

    def run(self, *command: str | Path, user: pwd.struct_passwd | None = None) -> str:
        """Run a command to its end and return what it printed; raises StackError where that is not possible."""
        words = [*_prefix(user, bound=False), *map(str, command)]
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            raise StackError(f"{command[0]}: {error}{self.tails()}") from error
        if done.returncode:
            output = (done.stdout + done.stderr).strip()
            raise StackError(f"{command[0]} exited with {done.returncode}: {output}{self.tails()}")
        return done.stdout

    def wait(self, what: str, is_ready: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until something is ready; raises StackError when a server ends before, or time is up."""
        deadline = time.monotonic() + seconds
        while not is_ready():
            if ended := [name for name in self.started if not self.runs(name)]:
                raise StackError(f"{ended[0]} ended while {what} was waited for{self.tails()}")
            if time.monotonic() > deadline:
                raise StackError(f"{what} did not answer within {seconds:.0f} s{self.tails()}")
            time.sleep(0.05)

    def runs(self, name: str) -> bool:
        """Tell whether a server still runs."""
        one = self._find(name)
        with suppress(psutil.NoSuchProcess):
            return one is not None and one.status() != psutil.STATUS_ZOMBIE
        return False

    def kill(self, name: str) -> None:
        """End a server and everything that it has started."""
        if one := self._find(name):
            _end(one, signal.Signals(self.started[name]["ended_by"]))
        if child := self._children.pop(name, None):
            child.wait()

    def stop(self) -> None:
        """End every server, the last one first."""
        for name in reversed(list(self.started)):
            self.kill(name)
            del self.started[name]

    def tails(self) -> str:
        """The last lines of every log that is not empty."""
        logs = [path for path in sorted(self.logs.iterdir()) if path.is_file()]
        tails = {log: log.read_text(errors="replace").splitlines()[-LINES_SHOWN:] for log in logs}
        return "".join(f"\n--- {log.name}\n" + "\n".join(tail) for log, tail in tails.items() if tail)

    def _find(self, name: str) -> psutil.Process | None:
        """Return a server unless it has ended; its id may be another process's by now."""
        if name not in self.started:
            return None
        pid, began = self.started[name]["pid"], self.started[name]["began"]
        with suppress(psutil.NoSuchProcess):
            one = psutil.Process(pid)
            return one if abs(one.create_time() - began) < CLOCK_STEP else None
        return None


def _end(one: psutil.Process, polite: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        everyone = [one, *one.children(recursive=True)]
        one.send_signal(polite)
        if polite is not signal.SIGKILL:
            with suppress(psutil.TimeoutExpired):
                one.wait(5)  # it ends what it has started by itself
        for process in everyone:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(everyone, timeout=10)


def _prefix(user: pwd.struct_passwd | None, *, bound: bool) -> list[str]:
    """Return what starts a command as a user, and ends it with this process; in one call, because a change of the
    user undoes the other.
    """
    if user is None and not (bound and shutil.which("setpriv")):
        return []
    as_user = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"] if user else []
    return ["setpriv", *as_user, *(["--pdeathsig", "KILL"] if bound else []), "--"]
