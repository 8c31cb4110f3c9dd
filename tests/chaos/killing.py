"""SIGKILL for parts of a fuse job at moments that a seed chooses, and the same command again until it ends."""

import random
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import psutil

from pipelines import storage
from pipelines.fuse import PAIRS_A_BLOCK_CPU
from tests.fault_proxy import Fault, FaultProxy
from tests.processes import start_job

Victim = Literal["driver", "node", "actor", "fetch", "writer", "job between image and row"]

# How the processes of Ray begin that do the work, and how the one ends that makes a machine a node.
BEGINNINGS: dict[Victim, str] = {
    "actor": "ray::MapWorker(MapBatches(FuseActor))",
    "fetch": "ray::MapBatches(fetch)",
    "writer": "ray::MapBatches(Writer)",
}
NODE = "/raylet"
VICTIMS: tuple[Victim, ...] = ("driver", "node", *BEGINNINGS, "job between image and row")


@dataclass(frozen=True)
class Kill:
    """One SIGKILL, as soon as a share of the pairs has rows."""

    victim: Victim
    share: float


def plan_kills(seed: int) -> list[Kill]:
    """Choose one to three kills; neighbouring seeds have different first victims."""
    dice = random.Random(seed)
    victims = [VICTIMS[seed % len(VICTIMS)], *dice.choices(VICTIMS, k=dice.randint(0, 2))]
    shares = sorted(dice.random() * 0.7 for _ in victims)
    return [Kill(victim, share) for victim, share in zip(victims, shares, strict=True)]


@dataclass
class Ended:
    """A job that has ended by itself, at last."""

    code: int
    said: str
    killed: list[Victim]
    begun: int
    """How often the command was given."""
    images_without_row: int
    """Images that lay there without a row when the command was given again."""


class Killer:
    """Gives a command, kills and gives it again."""

    def __init__(self, command: list[object], out: str, pairs: int, proxy: FaultProxy | None, seed: int) -> None:
        self.command = command
        self.out = out
        self.pairs = pairs
        self.proxy = proxy
        """What the job's store is reached through, where its destination is one."""
        self.dice = random.Random(seed)

    def run(self, kills: list[Kill]) -> Ended:
        """Carry out the kills in their order, each as soon as it can be; the job may end before the last ones."""
        ended = Ended(code=-1, said="", killed=[], begun=0, images_without_row=0)
        waiting = iter(kills)
        kill = next(waiting, None)
        while ended.code not in (0, 3):
            assert ended.begun <= len(ended.killed), f"it ended without being killed: {ended.code}\n{ended.said}"
            ended.begun += 1
            ended.images_without_row += max(0, self._images() - self._rows())
            process = start_job(*self.command)
            while kill and self._carry_out(process, kill):
                ended.killed.append(kill.victim)
                kill = next(waiting, None)
            ended.said, _ = process.communicate(timeout=240)
            ended.code = process.returncode
        return ended

    def _carry_out(self, process: subprocess.Popen[str], kill: Kill) -> bool:
        """Wait for the moment of a kill; False when the process ends before."""
        deadline = time.monotonic() + 240
        while self._rows() < kill.share * self.pairs or not self._strike(process, kill.victim):
            assert time.monotonic() < deadline, f"no moment came for {kill}"
            if process.poll() is not None:
                return False
            time.sleep(0.02)
        return True

    def _strike(self, process: subprocess.Popen[str], victim: Victim) -> bool:
        """Kill a victim, if there is one at this moment."""
        if victim == "driver":
            process.kill()
            return process.wait() < 0
        if victim == "job between image and row":
            return self._strike_between(process)
        with suppress(psutil.NoSuchProcess):
            found = [one for one in descendants(process) if is_one(one, victim)]
            if found:
                self.dice.choice(found).kill()
                return True
        return False

    def _strike_between(self, process: subprocess.Popen[str]) -> bool:
        if self.proxy is None:
            if between := self._images() > self._rows():
                kill_all(process)
            return between

        struck: list[str] = []

        def choose(request: str) -> Fault | None:
            if struck or not (request.startswith("PUT ") and "/pairs/" in request):
                return None
            struck.append(request)
            kill_all(process)
            # The rows arrive, and nobody hears of it, or they do not.
            return self.dice.choice(["lost_answer", "reset"])

        self.proxy.choose = choose
        process.wait(timeout=240)
        self.proxy.choose = lambda _: None
        return bool(struck)

    def _rows(self) -> int:
        return min(self.pairs, PAIRS_A_BLOCK_CPU * len(storage.list_files(storage.join(self.out, "pairs"))))

    def _images(self) -> int:
        return len(storage.list_files(storage.join(self.out, "images")))


def is_one(process: psutil.Process, victim: Victim) -> bool:
    """Tell a victim from other processes."""
    title = (process.cmdline() or [""])[0]
    return title.endswith(NODE) if victim == "node" else title.startswith(BEGINNINGS[victim])


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return everything that a process has started and that still runs."""
    return psutil.Process(process.pid).children(recursive=True)


def kill_all(process: subprocess.Popen[str]) -> None:
    """Kill a process and everything that it has started."""
    with suppress(psutil.NoSuchProcess):
        for one in [psutil.Process(process.pid), *descendants(process)]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
