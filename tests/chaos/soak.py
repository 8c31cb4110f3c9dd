"""As many rounds as requested of one small fuse job, parts of which are killed at random moments until it ends.

    python -m tests.chaos.soak --rounds 100 [--kinds driver,store,ray-node,...] [--seed N] [--figures FILE]

A round is over when the command ends by itself. Then every row, image and recording is held against those of a job that
nothing happened to. The figures of all calls accumulate in FILE. Exit code 1, and the folder is kept, as soon as
something is lost, doubled, different or hangs.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from infra.stack.object_store import missing_ceph_programs
from tests.chaos.forked import ForkedJob
from tests.chaos.killing import PARTS, Ended, kill_all
from tests.chaos.undisturbed import Undisturbed, check, command, make_dirty_archive
from tests.end_to_end.test_fuse_archive import rows_of
from tests.object_store import ObjectStore
from tests.processes import start_job
from tests.ray_nodes import ray_nodes
from tests.recordings import write_pair
from tests.tally import COUNTED

PAIRS, NODES = 8, 2
MOST_KILLS = {"driver": 40, "store": 20}
MOST_KILLS_ON_RAY = 12
SHARES = (0.2, 0.4, 1.0)
"""A round kills within this share of the seconds that an undisturbed job takes: a small one kills often and early, in a
job that has ever less left to do; with 1.0 its end is as likely to be hit as its start."""
HANG_SECONDS = 300.0
SECONDS_ON_RAY = 60.0
"""What a job on Ray takes, mostly to start; for jobs in one process it is measured."""
LONGEST_OUTAGE = 8.0
INLINE = ("driver", "store")
KINDS = (*INLINE, *(f"ray-{part.replace(' ', '-')}" for part in PARTS), "lost-node")


class Job(Protocol):
    """A job that was started: `subprocess.Popen`, or a fork."""

    def poll(self) -> int | None: ...
    def kill(self) -> None: ...


class HungError(AssertionError):
    """A job that has not ended, HANG_SECONDS after the last kill."""


@dataclass(frozen=True)
class Target:
    """A command that can be given again and again, and what is killed of it."""

    start: Callable[[], Job]
    strike: Callable[[Job, random.Random], str | None]
    """Kills something if it is there at this moment, and says what."""
    log: Path
    """What the job prints."""


def main() -> int:
    """Run the rounds, and return the exit code."""
    asked = _parse()
    # `upfusion fuse` does so before it imports PyTorch, which forks have imported already. Without, a job takes 24 s of
    # CPU on a busy machine instead of 1.4.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    folder = Path(tempfile.mkdtemp(prefix="upfusion-soak-"))
    with ExitStack() as stack:
        soak = Soak(folder, asked.figures)
        if "store" in asked.kinds:
            soak.use_store(stack)
        soak.make_undisturbed()
        for number in range(asked.rounds):
            dice = random.Random(f"{asked.seed} {number}")
            if not soak.run(number, dice.choice(asked.kinds), dice):
                print(f"what is left lies in {folder}", flush=True)
                return 1
    shutil.rmtree(folder)
    return 0


class Soak:
    """Rounds on one archive."""

    def __init__(self, folder: Path, figures: Path | None) -> None:
        self.folder, self.figures = folder, figures
        self.archive, self.whole = folder / "in", folder / "whole"
        self.seconds: dict[str, float] = {}
        self.store: ObjectStore | None = None
        self.undisturbed: Undisturbed | None = None
        make_dirty_archive(self.archive, PAIRS, broken=3)
        write_pair(self.archive, "street_cam", seconds=0.8, gop=8)

    def use_store(self, stack: ExitStack) -> None:
        """Start a store; jobs see it if they are started after it."""
        (self.folder / "store").mkdir()
        self.store = ObjectStore("ceph-rgw", self.folder / "store")
        self.store.start()
        stack.callback(self.store.stop)

    def make_undisturbed(self) -> None:
        """Run the job once and let it be."""
        idle = ForkedJob(["--help"], self.folder / "log")  # the first one waits for the imports of all
        while idle.poll() is None:
            time.sleep(0.1)
        began = time.monotonic()
        ended = disturb(self._forked(self.whole), random.Random(0), 0, 0.0, 0.0)
        if ended.code != 3:
            raise SystemExit(ended.said)
        self.seconds |= dict.fromkeys(INLINE, time.monotonic() - began)
        self.undisturbed = Undisturbed(self.archive, self.whole, rows_of(self.whole))

    def run(self, number: int, kind: str, dice: random.Random) -> bool:
        """Run a round, print a line about it, count it, and tell whether all was right."""
        assert self.undisturbed is not None
        COUNTED.clear()
        began, ended, wrong = time.monotonic(), Ended(), ""
        try:
            with self._target(number, kind) as (target, out):
                kills = dice.randint(1, MOST_KILLS.get(kind, MOST_KILLS_ON_RAY))
                usual = self.seconds.get(kind, SECONDS_ON_RAY)
                ended = disturb(target, dice, kills, usual, usual * dice.choice(SHARES))
                check(self.undisturbed, out, ended)
        except AssertionError as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            wrong = f"{type(error).__name__} at {where.name}, line {where.lineno}: {error}\n{where.line}"
        COUNTED.update(rounds=1, **{"rounds that ended otherwise": int(bool(wrong))})
        COUNTED["hangs"] += wrong.startswith(HungError.__name__)
        said = ", ".join(f"{count} x {victim}" for victim, count in Counter(ended.killed).items()) or "nothing"
        print(f"{number}: {kind}, {time.monotonic() - began:.0f} s, killed {said}. {wrong or 'ok'}", flush=True)
        if self.figures:
            before = Counter(json.loads(self.figures.read_text())) if self.figures.exists() else Counter()
            before.update(COUNTED)
            self.figures.write_text(json.dumps(dict(sorted(before.items())), indent=2) + "\n")
        return not wrong

    @contextmanager
    def _target(self, number: int, kind: str) -> Iterator[tuple[Target, str]]:
        """Set up what a round kills; its destination is removed when all was right."""
        place = self.folder / f"out{number}"
        out = str(place)
        if kind == "driver":
            yield self._forked(place), out
        elif kind == "store":
            assert self.store is not None
            out = f"{self.store.new_bucket()}/out"
            yield self._forked(out, self._strike_store), out
        elif kind == "lost-node":
            with ray_nodes(NODES, cpus=1) as nodes:
                log = self.folder / "log"

                def start() -> Job:
                    with log.open("w") as file:
                        _, *words = self._words(place, "ray")
                        return nodes.start("-m", "jobs.fuse", *words, output=file.fileno())

                def lose(*_: object) -> str | None:
                    return "node of several" if nodes.lose(1, keep=1) else None

                yield Target(start, lose, log), out
        else:
            yield self._on_ray(place, kind.removeprefix("ray-").replace("-", " ")), out
        shutil.rmtree(place, ignore_errors=True)

    def _words(self, out: object, runner: str) -> list[object]:
        return [*command(self.archive, out, runner), "--segment-seconds", 0.35]

    def _forked(self, out: object, strike: Callable[[Job, random.Random], str | None] | None = None) -> Target:
        log = self.folder / "log"

        def kill(job: Job, _: random.Random) -> str | None:
            job.kill()
            return "driver"

        return Target(lambda: ForkedJob(self._words(out, "inline")[1:], log), strike or kill, log)

    def _strike_store(self, job: Job, dice: random.Random) -> str | None:
        assert self.store is not None
        if dice.random() < 0.3:
            job.kill()
            return "driver"
        self.store.kill()
        time.sleep(dice.uniform(0, dice.choice((1.0, LONGEST_OUTAGE))))
        self.store.start_again()
        return "store"

    def _on_ray(self, out: Path, part: str) -> Target:
        log = self.folder / "log"

        def start() -> Job:
            with log.open("w") as file:
                return start_job(*self._words(out, "ray"), output=file.fileno())

        def strike(job: Job, dice: random.Random) -> str | None:
            assert isinstance(job, subprocess.Popen)
            return part if PARTS[part](job, dice) else None

        return Target(start, strike, log)


def disturb(target: Target, dice: random.Random, kills: int, usual: float, span: float) -> Ended:
    """Give a command again and again until it ends by itself, with so many kills; `usual` is what it takes if let be.

    Each kill falls within `span` seconds of the one before, or of the start of the process. All are seconds.

    Raises HungError, and AssertionError for a job that fails without having been killed.
    """
    ended = Ended()
    while ended.code not in (0, 3):
        assert len(ended.ends) <= len(ended.killed), f"it ended without being killed: {ended.code}\n{ended.said}"
        job = target.start()
        moment = time.monotonic() + dice.uniform(0, span)
        deadline = time.monotonic() + usual + HANG_SECONDS
        while job.poll() is None:
            if len(ended.killed) < kills and time.monotonic() > moment:
                if victim := target.strike(job, dice):
                    ended.killed.append(victim)
                    deadline = time.monotonic() + HANG_SECONDS
                moment = time.monotonic() + (dice.uniform(0, span) if victim else 0.05)
            if time.monotonic() > deadline:
                _end(job)
                raise HungError(f"no end within {HANG_SECONDS:.0f} s:\n{target.log.read_text(errors='replace')}")
            time.sleep(0.02)
        code = job.poll()
        assert code is not None
        ended.ends.append((code, target.log.read_text(errors="replace")))
    return ended


def _end(job: Job) -> None:
    if isinstance(job, subprocess.Popen):
        kill_all(job)
    else:
        job.kill()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--kinds", type=lambda text: text.split(","), help=f"of {', '.join(KINDS)}; by default all")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="by default another one each time")
    parser.add_argument("--figures", type=Path, help="JSON file in which the figures of several calls accumulate")
    asked = parser.parse_args()
    there = [kind for kind in KINDS if kind != "store" or not missing_ceph_programs()]
    asked.kinds = asked.kinds or there
    if unknown := set(asked.kinds) - set(there):
        parser.error(f"unknown or impossible kinds {', '.join(sorted(unknown))}; here there are {', '.join(there)}")
    print(f"{asked.rounds} rounds, seed {asked.seed}, kinds {', '.join(asked.kinds)}", flush=True)
    return asked


if __name__ == "__main__":
    sys.exit(main())
