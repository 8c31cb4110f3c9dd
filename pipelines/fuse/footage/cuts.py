"""Cutting recordings into segments: a stage before the fuse stages, whose results are kept in `cuts/`.

`--offset auto` decodes minutes of both recordings, so cutting thousands of them takes hours. Each that is cut leaves a
small file, and a job that was killed cuts only the rest.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.archive.formats import is_recording
from pipelines.archive.schema import MANIFEST_SCHEMA
from pipelines.cluster.runner import Built, Progress, Runner, Workers
from pipelines.errors.exceptions import UsageError
from pipelines.errors.failures import STORE_LOST, Row
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination, Finished
from pipelines.fuse.footage.schemas import CUT, OF_A_SEGMENT, RECORDING_OUTCOME
from pipelines.fuse.footage.segments import Cut, Failure, cut_recording
from pipelines.fuse.schemas import JOB_MANIFEST
from pipelines.storage import objects as storage
from pipelines.storage.parquet import DamagedTableError, read_as, write_table

RECORDINGS_AT_ONCE = 8
"""Reading an index is waiting for a store; an offset is estimated from frames, which takes a CPU by itself."""


@dataclass(frozen=True)
class Recordings:
    """The recordings of an archive and of its DEST, cut or not."""

    cut: list[Row] = field(default_factory=list)
    """Rows of the manifest for those of SOURCE that are cut, or cannot be."""
    uncut: dict[str, Row] = field(default_factory=dict)
    """Pairs of recordings that are to be cut, by name."""
    failed: frozenset[str] = frozenset()
    """Those of `uncut` that are in the manifest already, as a whole, and have no row."""


@dataclass(frozen=True)
class Segments:
    """What recordings were cut into."""

    rows: pa.Table
    """JOB_MANIFEST."""
    outdated: frozenset[str] = frozenset()
    """Manifest ids of recordings that could not be cut before and now are."""
    failures: dict[str, Failure] = field(default_factory=dict)
    """Why a recording, listed in the manifest as a whole, could not be cut."""


def split_recordings(pairs: pa.Table) -> tuple[pa.Table, list[Row]]:
    """Split pairs of files into those of images, as a table, and those of recordings."""
    is_video = pa.array(
        [
            is_recording(a) or is_recording(b)
            for a, b in zip(*(pairs[side].to_pylist() for side in ("a_uri", "b_uri")), strict=True)
        ],
        pa.bool_(),
    )
    return pairs.filter(pc.invert(is_video)), pairs.filter(is_video).to_pylist()


def find_uncut(
    wanted: list[Row], manifest: pa.Table, finished: Finished, destination: Destination, *, wanted_only: bool = False
) -> Recordings:
    """Find which recordings of SOURCE (`wanted`) and of DEST's manifest (JOB_MANIFEST) are not cut yet.

    With `wanted_only`, those that are only in the manifest are left out. Raises UsageError if a recording is listed in
    the manifest with other sources.
    """
    there: dict[str, list[Row]] = defaultdict(list)
    for row in manifest.filter(pc.is_valid(manifest["recording"])).to_pylist():
        there[row["recording"]].append(row)
    by_name = {pair["pair_id"]: pair for pair in wanted}
    for name, pair in by_name.items():
        _check_same(pair, there.get(name, [pair])[0], destination)
    whole = {name: rows[0] for name, rows in there.items() if rows[0]["start_pts"] is None}
    done = set(finished.ids.to_pylist()) if whole else set()
    failed = {
        name: {column: row[column] for column in MANIFEST_SCHEMA.names}
        for name, row in whole.items()
        if name not in done and (name in by_name or not wanted_only)
    }
    uncut = failed | {name: pair for name, pair in by_name.items() if name not in there}
    cut = [row for name in by_name if name not in uncut for row in there[name]]
    return Recordings(cut, uncut, frozenset(failed))


def cut_recordings(
    recordings: Recordings,
    config: FuseConfig,
    destination: Destination,
    connect: Callable[[], Runner],
    on_progress: Callable[[Progress], None],
) -> Segments:
    """Cut the recordings that are not cut yet, and return the segments of all.

    `connect` is called only if there is something to cut. Raises StoreLostError if a store can no longer be read or
    written.
    """
    cuts = _read_cuts(recordings, destination)
    if config.retry_failed:
        for name in [name for name, cut in cuts.items() if cut.failure is not None]:
            storage.delete(cut_uri(destination, recordings.uncut[name]))
            del cuts[name]
    if len(cuts) < len(recordings.uncut):
        _run_to_end(recordings, len(cuts), config, destination, connect(), on_progress)
        cuts = _read_cuts(recordings, destination)
    rows = [*recordings.cut, *(row for name in recordings.uncut for row in cuts[name].rows)]
    return Segments(
        pa.Table.from_pylist(rows, JOB_MANIFEST),
        frozenset(name for name in recordings.failed if cuts[name].failure is None),
        {name: cut.failure for name, cut in cuts.items() if cut.failure is not None},
    )


class Cutter:
    """The stage that cuts recordings, and writes a file for each that says where, or why it cannot be cut."""

    def __init__(self, config: FuseConfig, destination: Destination) -> None:
        self.config, self.destination = config, destination

    def __call__(self, pairs: pa.Table) -> pa.Table:
        """Cut a block of pairs (MANIFEST_SCHEMA) and return the outcome of each."""
        with ThreadPoolExecutor(max_workers=RECORDINGS_AT_ONCE) as pool:
            return pa.Table.from_pylist(list(pool.map(self._cut, pairs.to_pylist())), RECORDING_OUTCOME)

    def _cut(self, pair: Row) -> Row:
        cut = cut_recording(pair, self.config)
        code, error = cut.failure or (None, None)
        row = {"recording": pair["pair_id"], "error_code": code}
        if code == STORE_LOST:
            return row | {"stopped": error}
        rows = [one | {"error_code": code, "error": error} for one in cut.rows]
        try:
            write_table(cut_uri(self.destination, pair), pa.Table.from_pylist(rows, CUT))
        except OSError as failed:
            return row | {"stopped": storage.redact(f"{self.destination.uri} cannot be written: {failed}")}
        return row


def cut_uri(destination: Destination, pair: Row) -> str:
    """Return the URI of the file that says how a pair of recordings is cut; other sources have another one."""
    names = json.dumps([pair[name] for name in ("pair_id", "a_uri", "b_uri")])
    return storage.join(destination.cuts, f"{hashlib.sha256(names.encode()).hexdigest()[:32]}.parquet")


def _run_to_end(
    recordings: Recordings,
    before: int,
    config: FuseConfig,
    destination: Destination,
    runner: Runner,
    on_progress: Callable[[Progress], None],
) -> None:
    total = len(recordings.uncut)
    workers = Workers(actors=1, cpus=1.0, gpus=0.0, threads=1)
    size = RECORDINGS_AT_ONCE if config.offset_seconds is not None else 1

    def report(progress: Progress) -> None:
        on_progress(replace(progress, doing="cutting"))

    def build() -> Built | None:
        cuts = _read_cuts(recordings, destination)
        left = [pair for name, pair in recordings.uncut.items() if name not in cuts]
        if not left:
            return None
        table = pa.Table.from_pylist(left, MANIFEST_SCHEMA)
        blocks = [table.slice(start, size) for start in range(0, len(left), size)]
        graph = runner.add_tasks(runner.begin_with(blocks), Cutter(config, destination), workers=workers)
        return Built(graph, len(left), workers)

    if before:
        report(Progress(total, notice=f"{before} of {total} recordings were cut by an earlier run"))
    runner.run_to_end(build, report, "recordings")


def _read_cuts(recordings: Recordings, destination: Destination) -> dict[str, Cut]:
    """Read how recordings are cut, of those for which that is kept; a damaged file counts as none."""
    if not recordings.uncut:
        return {}
    there = set(storage.list_files(destination.cuts))
    kept = {name: uri for name, pair in recordings.uncut.items() if (uri := cut_uri(destination, pair)) in there}

    def read(name: str) -> Cut | None:
        try:
            rows = read_as(kept[name], CUT).to_pylist()
        except DamagedTableError:  # its writer's machine lost its power; it is written anew
            return None
        code, error = (rows[0].pop(column) for column in ("error_code", "error"))
        cut = [recordings.uncut[name] | {column: row[column] for column in OF_A_SEGMENT} for row in rows]
        return Cut(cut, (code, error) if code else None)

    with ThreadPoolExecutor(max_workers=16) as pool:
        return {name: cut for name, cut in zip(kept, pool.map(read, kept), strict=True) if cut is not None}


def _check_same(pair: Row, there: Row, destination: Destination) -> None:
    differing = [
        f"{name} {there[name]!r}, now {pair[name]!r}"
        for name in pair
        if name != "pair_id" and there[name] != pair[name]
    ]
    if differing:
        raise UsageError(
            f"recording {pair['pair_id']!r} is listed in {destination.manifest} with {'; '.join(differing)}. "
            "Choose another --out for another archive."
        )
