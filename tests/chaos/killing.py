"""Kills for parts of a job at moments that a seed chooses, and the same command again until it ends."""

import random
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from jobs.exit_codes import EXIT_INTERRUPTED
from tests.processes import start_job

Strike = Callable[[subprocess.Popen[str], random.Random], bool]
"""Kills a victim of a job if there is one at this moment, and says whether there was."""


@dataclass(frozen=True)
class Kill:
    """One kill, as soon as a share of the work is done."""

    victim: str
    share: float


@dataclass
class Ended:
    """A job that has ended by itself, at last."""

    ends: list[tuple[int, str]] = field(default_factory=list)
    """What each of its processes returned and said."""
    killed: list[str] = field(default_factory=list)

    @property
    def code(self) -> int:
        """What the last one returned."""
        return self.ends[-1][0] if self.ends else -1

    @property
    def said(self) -> str:
        """What the last one said."""
        return self.ends[-1][1] if self.ends else ""


def plan_kills(seed: int, victims: Sequence[str], early: Collection[str] = ()) -> list[Kill]:
    """Choose two or three kills; neighbouring seeds have different first victims.

    Those that are `early` have done all that they do by the time that anything is finished, and are killed first.
    """
    dice = random.Random(seed)
    chosen = [victims[seed % len(victims)], *dice.choices(victims, k=dice.randint(1, 2))]
    chosen.sort(key=lambda victim: victim not in early)
    shares = sorted(dice.random() * 0.7 for _ in chosen)
    return [Kill(victim, 0 if victim in early else share) for victim, share in zip(chosen, shares, strict=True)]


@dataclass(frozen=True)
class Killer:
    """Gives a command, kills and gives it again."""

    command: Sequence[object]
    """What `start_job` takes."""
    done: Callable[[], float]
    """The share of the work that is done."""
    strikes: Mapping[str, Strike]
    """How each victim is killed."""
    seed: int
    store: str | None = None
    """Another way to the S3 server than the environment's."""

    def run(self, kills: Sequence[Kill]) -> Ended:
        """Carry out the kills in their order, each as soon as it can be; the job may end before the last ones."""
        dice, ended, waiting = random.Random(self.seed), Ended(), list(kills)
        while ended.code not in (0, 3):
            assert len(ended.ends) <= len(ended.killed), f"it ended without being killed: {ended.code}\n{ended.said}"
            process = start_job(*self.command, store=self.store)
            while waiting and self._carry_out(process, waiting[0], dice):
                ended.killed.append(waiting.pop(0).victim)
            said, _ = process.communicate(timeout=400)
            ended.ends.append((process.returncode, said))
        return ended

    def _carry_out(self, process: subprocess.Popen[str], kill: Kill, dice: random.Random) -> bool:
        """Wait for the moment of a kill; False when the process ends before."""
        deadline = time.monotonic() + 400
        while (early := self.done() < kill.share) or not self.strikes[kill.victim](process, dice):
            assert time.monotonic() < deadline, f"no moment came for {kill}"
            if process.poll() is not None:
                return False
            # To look at all that is done takes the job's own time; the moment itself may be short.
            time.sleep(0.2 if early else 0.02)
        return True


def kill_driver(process: subprocess.Popen[str], _: random.Random) -> bool:
    """Kill the process that the person started, and nothing that it has started."""
    process.kill()
    return process.wait() < 0


def press_ctrl_c(process: subprocess.Popen[str], _: random.Random) -> bool:
    """Stop a job as the person does who started it, and wait for its end."""
    process.send_signal(signal.SIGINT)
    return process.wait(timeout=60) == EXIT_INTERRUPTED


def kill_node(process: subprocess.Popen[str], dice: random.Random) -> bool:
    """Kill what makes the machine a node of Ray's cluster."""
    return _kill_one(process, dice, lambda title: title.endswith("/raylet"))


def kill_titled(beginning: str) -> Strike:
    """Make a strike against one of Ray's workers, by what it says that it does."""
    return lambda process, dice: _kill_one(process, dice, lambda title: title.startswith(beginning))


PARTS: dict[str, Strike] = {
    "driver": kill_driver,
    "node": kill_node,
    "actor": kill_titled("ray::MapWorker(MapBatches(FuseActor))"),
    "fetch task": kill_titled("ray::MapBatches(load_sources)"),
    "writer": kill_titled("ray::MapBatches(Writer)"),
}
"""How each part of a fuse job on Ray is killed."""


def kill_all(process: subprocess.Popen[str]) -> None:
    """Kill a process and everything that it has started."""
    with suppress(psutil.NoSuchProcess):
        for one in [psutil.Process(process.pid), *_started_by(process)]:
            with suppress(psutil.NoSuchProcess):
                one.kill()


def _kill_one(process: subprocess.Popen[str], dice: random.Random, is_meant: Callable[[str], bool]) -> bool:
    with suppress(psutil.NoSuchProcess):
        if found := [one for one in _started_by(process) if is_meant((one.cmdline() or [""])[0])]:
            dice.choice(found).kill()
            return True
    return False


def _started_by(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)
