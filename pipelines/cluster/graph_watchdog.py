"""Telling a slow graph from one that cannot proceed, and stopping the latter."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import ray
from ray.data import DataContext
from ray.data._internal.execution.execution_callback import ExecutionCallback

from pipelines.cluster.heartbeat import Beat
from pipelines.cluster.runner import Workers
from upfusion.counted import counted

CHECK_SECONDS = 5.0
QUIET_SECONDS = 40.0
"""Nothing is looked at while something finishes that often."""
BUSY_REPORT_SECONDS = 600.0
"""Workers that are at work are reported after so long without anything finished, and then at doubled intervals."""
STUCK_SECONDS = 60.0
"""How long nothing may be at work while nobody else uses the cluster."""
LOST_SECONDS = 150.0
"""How long a running graph waits where no node is left that could hold a worker."""
JOIN_SECONDS = 1200.0
"""How long a graph waits for the first such node: a cluster that scales from zero takes minutes to start one."""
LEAST_SHARE = 0.05
"""Free CPUs and GPUs are reported late and rounded."""


@dataclass(frozen=True)
class Diagnosis:
    """Why nothing is at work."""

    reason: str
    patience: float | None
    """Seconds after which this will not change by itself; None where it may."""
    is_final: bool = False
    """Whether no other graph would do better on the nodes there are."""


class GraphWatchdog:
    """Looks at a graph now and then; reports why nothing finishes, and says when nothing ever will."""

    def __init__(
        self,
        workers: Workers,
        beats: Callable[[], list[Beat] | None],
        on_stall: Callable[[str], None],
        *,
        has_worked: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.workers = workers
        self.beats = beats
        self.on_stall = on_stall
        self.clock = clock
        self.finished_at = clock()
        self.idle_since: float | None = None
        self.has_worked = has_worked
        self.next_report = 0.0

    def progress(self) -> None:
        """Record that something has finished."""
        self.finished_at = self.clock()
        self.has_worked, self.idle_since, self.next_report = True, None, 0.0

    def check(self) -> Diagnosis | None:
        """Return why nothing can proceed; None as long as something may."""
        now = self.clock()
        quiet = now - self.finished_at
        if quiet < QUIET_SECONDS:
            return None
        beats = self.beats()
        if beats is None or any(beat.busy_seconds is not None for beat in beats):
            self.idle_since = None
            self.has_worked = self.has_worked or bool(beats)
            self._report(quiet, BUSY_REPORT_SECONDS, lambda: describe_work(beats))
            return None
        if self.idle_since is None:
            self.idle_since, self.next_report = now, 0.0
        idle = now - self.idle_since
        diagnosis = diagnose(self.workers, beats, has_worked=self.has_worked)
        if diagnosis.patience is not None and idle >= diagnosis.patience:
            return diagnosis
        self._report(idle, QUIET_SECONDS, lambda: f"nothing is running: {diagnosis.reason}")
        return None

    def _report(self, seconds: float, after: float, describe: Callable[[], str]) -> None:
        """Report at `after` seconds, and then each time after twice as many."""
        if seconds >= max(after, self.next_report):
            self.next_report = 2 * seconds
            self.on_stall(f"nothing finished for {self.clock() - self.finished_at:.0f} s: {describe()}")


def describe_work(beats: list[Beat] | None) -> str:
    """Say what is at work, and for how long."""
    if beats is None:
        return "the workers' heartbeats cannot be read, as this machine is busy or short of memory"
    busy = [beat.busy_seconds for beat in beats if beat.busy_seconds is not None]
    stages = Counter(beat.stage for beat in beats if beat.busy_seconds is not None)
    at_work = ", ".join(f"{count} x {stage}" for stage, count in sorted(stages.items()))
    return f"{at_work} busy, the longest for {max(busy):.0f} s: large or slow pairs, or a slow store"


def diagnose(workers: Workers, beats: list[Beat], *, has_worked: bool) -> Diagnosis:
    """Find out why nothing is at work, from what the cluster has, what is free, and what the workers hold."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    total, free = ray.cluster_resources(), ray.available_resources()
    needed = {name: amount for name, amount in (("CPU", workers.cpus), ("GPU", workers.gpus)) if amount}
    shown = ", ".join(f"{free.get(name, 0):g} of {total.get(name, 0):g} {name}s free" for name in ("CPU", "GPU"))
    cluster = f"{counted(len(nodes), 'node')}, {shown}"
    wanted = " and ".join(f"{amount:g} {name}" for name, amount in needed.items())
    if not any(all(node.get(name, 0) >= amount for name, amount in needed.items()) for node in nodes):
        what = "is left with that much" if has_worked else "has that much"
        return Diagnosis(
            f"each of {workers.actors} workers needs {wanted} on one node, and no node {what} ({cluster})",
            LOST_SECONDS if has_worked else JOIN_SECONDS,
            is_final=True,
        )
    waiting = sum(beat.is_actor for beat in beats)
    held = {name: amount * waiting for name, amount in needed.items()}
    held["CPU"] = held.get("CPU", 0.0) + (len(beats) - waiting) * workers.task_cpus
    others = {name: total.get(name, 0) - free.get(name, 0) - held[name] for name in needed}
    if any(amount > LEAST_SHARE for amount in others.values()):
        used = " and ".join(f"{amount:.3g} {name}s" for name, amount in others.items() if amount > LEAST_SHARE)
        return Diagnosis(f"{used} are taken by workers that are starting, or by other jobs ({cluster})", None)
    return Diagnosis(
        f"{waiting} of {workers.actors} workers wait, and Ray starts nothing that would give them work ({cluster})",
        STUCK_SECONDS,
    )


def stop_on(verdict: list[Diagnosis], context: DataContext) -> None:
    """Make a graph raise GraphStoppedError, in whoever reads it, as soon as there is a verdict."""

    class Stop(ExecutionCallback):
        def on_execution_step(self, executor: object) -> None:  # noqa: ARG002  # Ray's signature
            if verdict:
                raise GraphStoppedError(verdict[0])

    # Reading blocks until the next block comes, which it never may.
    context.custom_execution_callback_classes = [*context.custom_execution_callback_classes, Stop]


class GraphStoppedError(RuntimeError):
    """A graph none of whose stages can proceed."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis.reason)
        self.diagnosis = diagnosis
