"""The fuse job: an archive of pairs in, fused images and a row of metrics per pair out.

    discover -> (cut recordings) -> manifest -> fetch -> decode -> fuse + measure -> encode -> write

Fetching, decoding, encoding and writing are CPU tasks, the network is in actors; small jobs run all of it in this
process. Data flows in blocks of a few pairs; a failed pair is a row, never an exception.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from pipelines.cluster.destination_lock import own_destination
from pipelines.cluster.inline import SEGMENT_IN_PAIRS, InlineRunner, runs_inline
from pipelines.cluster.runner import Progress, Runner
from pipelines.errors.exceptions import UsageError
from pipelines.fuse.alignment import sum_up_alignment
from pipelines.fuse.allowed import check_others, may_read
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.counts import Counts, count, frames_of, undefined_metrics
from pipelines.fuse.destination import (
    Destination,
    Finished,
    aggregate,
    as_job_manifest,
    first_failures,
    first_image,
    without,
)
from pipelines.fuse.footage.cuts import cut_recordings
from pipelines.fuse.footage.graph import join_complete
from pipelines.fuse.graph import run_graphs
from pipelines.fuse.plan import Plan
from pipelines.fuse.price import Price, price_of
from pipelines.fuse.report.page import write_report
from pipelines.fuse.resume import check_claims, claim, prepare_destination
from pipelines.fuse.tracking import track
from pipelines.measure.summary import Undefined
from pipelines.storage import objects as storage
from pipelines.storage.lock import Lock
from pipelines.storage.names import ids_alike
from pipelines.tracking.run import InputData, TrackedRun, open_run


@dataclass(frozen=True)
class Outcome:
    """The outcome of a finished job; `pairs`, `ok`, `failed` and `fused_now` are numbers of rows."""

    destination: Destination
    pairs: int
    ok: int
    failed: int
    fused_now: int
    seconds: float
    counts: Counts
    """The same rows, with recordings in place of their segments."""
    unpaired: list[str] = field(default_factory=list)
    aggregates: dict[str, dict[str, float]] = field(default_factory=dict)
    undefined: dict[str, Undefined] = field(default_factory=dict)
    """On how many of the fused pairs a metric has no value, and why."""
    tracked: str | None = None
    """Where to view the MLflow run."""
    recordings: list[dict[str, Any]] = field(default_factory=list)
    """The description of each joined recording (`recordings/*.json`)."""
    alignment: str | None = None
    """What there is to say about pairs that are not registered."""
    frames_now: int = 0
    """Frames of recordings that this run has fused."""
    price: Price | None = None
    """What this run cost; None without --price-per-hour."""
    first_image: str | None = None
    """A fused image that was stored as a file; None where all are inside the rows."""
    failures: tuple[str, ...] = ()
    """The first failed pairs with their reasons."""
    damaged: tuple[str, ...] = ()
    """Files of rows that could not be read: where they lie now. Their pairs were fused again."""

    @property
    def failed_share(self) -> float:
        """The share of the manifest's pairs that failed."""
        return self.failed / self.pairs


def fuse(plan: Plan, on_progress: Callable[[Progress], None] | None = None, *, verbose: bool = False) -> Outcome:
    """Execute a plan: every pair of the manifest ends as exactly one row, whatever existed before.

    Raises UsageError if DEST was made with other settings or from another archive, or if another job is writing it, and
    StoreLostError if a store can no longer be read or written.
    """
    say = on_progress or (lambda _: None)
    destination = Destination(plan.config.destination)
    check_claims(plan, destination)  # no lock is left in a folder that is refused
    with own_destination(destination.uri, "fuse job", _notice(say)) as lock:

        def report(progress: Progress) -> None:
            lock.check()
            say(progress)

        return _fuse(plan, destination, report, lock, verbose=verbose)


def _notice(say: Callable[[Progress], None]) -> Callable[[str], None]:
    return lambda sentence: say(Progress(0, notice=sentence))


def _fuse(
    plan: Plan, destination: Destination, say: Callable[[Progress], None], lock: Lock, *, verbose: bool
) -> Outcome:
    started = time.monotonic()
    config = plan.config
    try:
        plan = claim(plan, destination, _notice(say))
        there = prepare_destination(plan, destination)
    except OSError as error:
        raise UsageError(f"--out cannot be used: {storage.redact(str(error))}") from error
    manifest, done = there.manifest, there.finished.ids
    if config.limit is None:  # Without one, everything in the manifest: also what only an earlier run found.
        check_others(without(manifest, done), plan, destination)
    data = InputData("manifest", destination.manifest, there.digest)
    with open_run(config, plan.run, kind="fuse", uri=destination.uri, data=data) as tracked:
        with ExitStack() as stack:
            connect = _connecting(stack, config, tracked, verbose=verbose)
            work = SEGMENT_IN_PAIRS * len(there.recordings.uncut) + without(there.images, done).num_rows
            segments = cut_recordings(there.recordings, config, destination, lambda: connect(work), say)
            if segments.rows.num_rows:
                manifest = destination.merge_manifest(segments.rows, segments.outdated)
            found = pa.concat_tables([as_job_manifest(there.images), segments.rows])
            todo = without(found.sort_by("pair_id") if config.limit else manifest, done)
            if todo.num_rows:
                # It describes the previous rows and is outdated while new ones are written.
                storage.delete(destination.success)
                if before := manifest.num_rows - todo.num_rows:
                    say(Progress(todo.num_rows, notice=f"resuming: {before} of {manifest.num_rows} done"))
                say(Progress(todo.num_rows, unit=_unit_of(todo)))  # Ray takes seconds to start
                alike = ids_alike(manifest["pair_id"])
                run_graphs(todo, segments.failures, plan, destination, connect(_in_pairs(todo)), say, alike)
            joined = join_complete(manifest, config, destination, connect, say)
        lock.check()
        outcome = _close(plan, destination, manifest, tracked, todo, time.monotonic() - started, joined)
        return replace(outcome, damaged=there.damaged)


def _connecting(stack: ExitStack, config: FuseConfig, tracked: TrackedRun, *, verbose: bool) -> Callable[[int], Runner]:
    """Return a function that starts, on its first call, what so much work in pairs is worth, and keeps it.

    A Ray is started later where there turns out to be more to do, as in one recording of many segments.
    """
    chosen: list[Runner] = []

    def connect(pairs: int) -> Runner:
        if not chosen or (isinstance(chosen[-1], InlineRunner) and not _is_inline(config, pairs)):
            chosen.append(stack.enter_context(_runner(config, pairs, verbose=verbose)))
            tracked.tag_ray_job(chosen[-1])
        return chosen[-1]

    return connect


def _is_inline(config: FuseConfig, pairs: int) -> bool:
    return runs_inline(config.runner, config.actors, config.gpus_per_actor, pairs)


def _runner(config: FuseConfig, pairs: int, *, verbose: bool) -> AbstractContextManager[Runner]:
    if _is_inline(config, pairs):
        return InlineRunner()
    from pipelines.cluster.ray_cluster import Cluster  # imports Ray, which takes seconds

    return Cluster(verbose=verbose)


def _in_pairs(todo: pa.Table) -> int:
    """Return how much work there is, in pairs of images."""
    images = todo["recording"].null_count
    return images + SEGMENT_IN_PAIRS * (todo.num_rows - images)


def _close(
    plan: Plan,
    destination: Destination,
    manifest: pa.Table,
    tracked: TrackedRun,
    todo: pa.Table,
    seconds: float,
    recordings: list[dict[str, Any]],
) -> Outcome:
    """Check every id of the manifest against the rows, then write the report, the metrics and _SUCCESS.json."""
    finished = destination.finished()
    if len(finished.repeated):
        destination.remove_repeated(finished)
        finished = destination.finished()
    counted = count(manifest, finished, recordings)
    counts: dict[str, Any] = {
        **counted.summary(),
        "unpaired": len(plan.found.unpaired),
        "unpaired_files": plan.found.unpaired[:1000],
    }
    alignment = sum_up_alignment(destination, plan)
    if alignment is not None:
        counts |= {"scored": alignment.scored, "misaligned": alignment.flagged}
        counts |= {"alignment": alignment.describe(plan.config.shell_arguments)}
    if _is_complete(manifest, finished, limited=plan.config.limit is not None):
        destination.succeed(counts)
    frames_now = frames_of(todo, destination)
    price = price_of(plan.config.price_per_hour, seconds, todo.num_rows, frames_now)
    write_report(destination.uri, may_read(plan, destination), price)
    aggregates = aggregate(destination, plan.config.metrics)
    track(tracked, destination, counts, aggregates, todo.num_rows, seconds, price, may_read(plan, destination))
    return Outcome(
        destination=destination,
        pairs=finished.rows.num_rows,
        ok=finished.ok,
        failed=finished.failed,
        fused_now=todo.num_rows,
        seconds=seconds,
        unpaired=plan.found.unpaired,
        aggregates=aggregates,
        undefined=undefined_metrics(destination, plan.config.metrics) if plan.config.metrics else {},
        tracked=tracked.where,
        recordings=recordings,
        counts=counted,
        frames_now=frames_now,
        price=price,
        alignment=counts.get("alignment"),
        first_image=first_image(destination),
        failures=first_failures(destination) if finished.failed else (),
    )


def _is_complete(manifest: pa.Table, finished: Finished, *, limited: bool) -> bool:
    """Tell whether every pair of the manifest has a row, and every row a pair.

    Raises RuntimeError if not, unless only a limited number of pairs was to be fused.
    """
    missing = without(manifest, finished.ids)["pair_id"]
    surplus = without(finished.rows, manifest["pair_id"].combine_chunks())["pair_id"]
    if not len(missing) and not len(surplus):
        return True
    if limited:
        return False
    first = min(name[0].as_py() for name in (missing, surplus) if len(name))
    raise RuntimeError(
        f"{len(missing)} pairs of the manifest have no row and {len(surplus)} rows no pair (first: {first!r}); "
        "rerun the same command to resume"
    )


def _unit_of(manifest: pa.Table) -> str:
    images = manifest["recording"].null_count
    if images == manifest.num_rows:
        return "pairs"
    return "pairs and segments" if images else "segments"
