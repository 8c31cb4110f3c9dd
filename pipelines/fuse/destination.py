"""The output folder or prefix of a fuse job: its settings, its manifest, its rows.

The Parquet files under `pairs/` are the only record of progress. Each is written atomically, so a pair is done when
its row exists, and a job that dies between any two steps resumes from these files.
"""

import hashlib
import json
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors.exceptions import UsageError
from pipelines.fuse.schemas import IMAGE_FEATURE, JOB_MANIFEST, output_schema
from pipelines.measure.summary import summarise
from pipelines.sources.settings import RIG_FILE
from pipelines.storage import objects as storage
from pipelines.storage.ownership import is_claimed, run_file, write_claim
from pipelines.storage.parquet import (
    DamagedTableError,
    list_tables,
    read_as,
    read_table,
    set_damaged_aside,
    write_table,
)

FINISHED = pa.schema([pa.field("pair_id", pa.string()), pa.field("ok", pa.bool_())])


@dataclass(frozen=True)
class Finished:
    """The finished rows of a destination, as columns: millions of Python objects would exhaust the driver's memory."""

    rows: pa.Table
    """FINISHED, file by file."""
    files: dict[str, int]
    """Number of rows per file, in order."""
    damaged: tuple[str, ...] = ()
    """Where damaged files were moved to; their pairs have no row."""

    @property
    def ids(self) -> pa.Array:
        """Ids of the pairs that have a row."""
        return pc.unique(self.rows["pair_id"])

    @property
    def ok(self) -> int:
        """Number of rows with status ok."""
        return pc.sum(self.rows["ok"]).as_py() or 0

    @property
    def failed(self) -> int:
        """Number of rows with status failed."""
        return self.rows.num_rows - self.ok

    @property
    def repeated(self) -> pa.Array:
        """Ids of the pairs that have several rows."""
        counts = self.rows.group_by("pair_id").aggregate([([], "count_all")])
        return counts.filter(pc.greater(counts["count_all"], 1))["pair_id"].combine_chunks()

    def by_file(self, concerned: pa.ChunkedArray) -> Iterator[tuple[str, pa.Table]]:
        """Yield the files that contain a row selected by the mask, each with all of its rows."""
        mask, start = concerned.to_numpy(), 0
        for uri, count in self.files.items():
            if mask[start : start + count].any():
                yield uri, self.rows.slice(start, count)
            start += count


class Destination:
    """The paths below DEST, and how they are written."""

    def __init__(self, uri: str) -> None:
        self.uri = storage.absolute(uri)
        self.run_json = run_file(self.uri)
        self.manifest = storage.join(self.uri, "manifest.parquet")
        self.pairs = storage.join(self.uri, "pairs")
        self.images = storage.join(self.uri, "images")
        self.registered = storage.join(self.uri, "registered")
        self.cuts = storage.join(self.uri, "cuts")
        self.segments = storage.join(self.uri, "segments")
        self.frames = storage.join(self.uri, "frames")
        self.recordings = storage.join(self.uri, "recordings")
        self.previews = storage.join(self.uri, "previews")
        self.success = storage.join(self.uri, "_SUCCESS.json")
        self.rig = storage.join(self.uri, RIG_FILE)
        self.report = storage.join(self.uri, "report.html")

    def claim(self, run: dict[str, Any], defaults: dict[str, Any] | None = None) -> None:
        """Write run.json, or check that an existing one has the same digest.

        `run["result"]` holds every setting that affects the result. Raises UsageError, listing the settings
        that differ, if DEST was made with other ones.
        """
        if self.is_claimed(run, defaults):
            return
        try:
            write_claim(self.uri, run)
        except OSError as error:
            raise UsageError(f"--out {self.uri} cannot be used: {error}") from error

    def is_claimed(self, run: dict[str, Any], defaults: dict[str, Any] | None = None) -> bool:
        """Tell whether DEST was made with these settings, False if it is new; raises UsageError as `claim` does."""
        try:
            if is_claimed(self.uri, run, defaults):
                return True
            if storage.list_files(self.pairs):
                raise UsageError(f"{self.uri} holds pairs/ but no run.json; choose another --out")
        except OSError as error:
            raise UsageError(f"--out {self.uri} cannot be used: {error}") from error
        return False

    def keep_rigs(self, text: str) -> None:
        """Write rig.json, by which B is warped; it is the same in every run of this destination."""
        if not storage.exists(self.rig):
            storage.write_bytes(self.rig, text.encode())

    def read_manifest(self) -> pa.Table:
        """Read the manifest (JOB_MANIFEST); empty if there is none yet."""
        there = storage.exists(self.manifest)
        return read_as(self.manifest, JOB_MANIFEST) if there else JOB_MANIFEST.empty_table()

    def merge_manifest(self, pairs: pa.Table, outdated: Collection[str] = ()) -> pa.Table:
        """Add pairs to the manifest, drop its `outdated` ids, and return it whole, sorted by pair_id.

        Raises UsageError if an id is already listed with other sources, another task or another prompt.
        """
        pairs = as_job_manifest(pairs)
        if storage.exists(self.manifest):
            known = without(self.read_manifest(), pa.array(outdated, pa.string()))
            places = pc.index_in(pairs["pair_id"], value_set=known["pair_id"].combine_chunks())
            self._check_same(known.take(places.drop_null()), pairs.filter(places.is_valid()))
            fresh = pairs.filter(places.is_null())
            if fresh.num_rows == 0:
                return known
            pairs = pa.concat_tables([known, fresh]).sort_by("pair_id")
        if pairs.num_rows:
            storage.delete(self.success)  # it speaks of fewer pairs
            write_table(self.manifest, pairs)
        return pairs

    def finished(self) -> Finished:
        """Read which pairs have a row: two small columns of every file. Damaged files are moved to `damaged`."""
        uris, damaged = self.pair_files(), list[str]()

        def read(uri: str) -> pa.Table:
            try:
                return _read_statuses(uri)
            except DamagedTableError as error:  # its writer's machine lost its power, or it was damaged since
                damaged.append(set_damaged_aside(uri, error))
                return FINISHED.empty_table()

        with ThreadPoolExecutor(max_workers=16) as pool:
            tables = dict(zip(uris, pool.map(read, uris), strict=True))
        rows = pa.concat_tables([FINISHED.empty_table(), *tables.values()])
        return Finished(rows, {uri: table.num_rows for uri, table in tables.items()}, tuple(damaged))

    def read_columns(self, columns: list[str], uris: list[str] | None = None) -> pa.Table:
        """Read some columns of all rows, or of the rows in some files; null where an earlier version wrote none."""
        if uris is None:
            uris = self.pair_files()
        metrics = [name for name in columns if name not in output_schema(()).names]
        schema = output_schema(tuple(metrics))
        schema = pa.schema([schema.field(name) for name in columns])
        with ThreadPoolExecutor(max_workers=16) as pool:
            return pa.concat_tables([schema.empty_table(), *pool.map(lambda uri: read_as(uri, schema), uris)])

    def pair_files(self) -> list[str]:
        """List the files of rows."""
        return list_tables(self.pairs)

    def write_pairs(self, rows: pa.Table) -> None:
        """Write rows as one file, named after their ids, so that a retry overwrites the same object."""
        ids = json.dumps(sorted(rows["pair_id"].to_pylist()))
        name = hashlib.sha256(ids.encode()).hexdigest()[:32]
        write_table(storage.join(self.pairs, f"{name}.parquet"), rows)

    def remove_failed(self, finished: Finished) -> None:
        """Remove the failed rows, so that their pairs count as not done."""
        for uri, rows in finished.by_file(pc.invert(finished.rows["ok"])):
            self._keep_rows(uri, rows["ok"].to_pylist())

    def remove_rows(self, finished: Finished, ids: pa.Array) -> None:
        """Remove the rows of these ids, so that their pairs count as not done."""
        for uri, rows in finished.by_file(pc.is_in(finished.rows["pair_id"], value_set=ids)):
            self._keep_rows(uri, pc.invert(pc.is_in(rows["pair_id"], value_set=ids)).to_pylist())

    def remove_repeated(self, finished: Finished) -> int:
        """Remove duplicates: keep one row per pair, preferably an `ok` one; return how many rows were removed.

        Duplicates occur only if tasks outlive the killed driver of their job.
        """
        repeated = pc.is_in(finished.rows["pair_id"], value_set=finished.repeated)
        there = finished.rows.filter(repeated)
        ok = set(there.filter(there["ok"])["pair_id"].to_pylist())
        several = set(there["pair_id"].to_pylist())
        kept: set[str] = set()
        removed = 0
        for uri, rows in finished.by_file(repeated):
            keep = [
                row["pair_id"] not in several
                or ((row["ok"] or row["pair_id"] not in ok) and _is_first(kept, row["pair_id"]))
                for row in rows.to_pylist()
            ]
            if not all(keep):
                self._keep_rows(uri, keep)
                removed += keep.count(False)
        return removed

    def succeed(self, counts: dict[str, Any]) -> None:
        """Write _SUCCESS.json."""
        storage.write_bytes(self.success, (json.dumps(counts, indent=2, ensure_ascii=False) + "\n").encode())

    def _keep_rows(self, uri: str, keep: list[bool]) -> None:
        rows = read_table(uri).filter(pa.array(keep, pa.bool_()))
        # The remaining rows are written first: a crash here loses none of them.
        if rows.num_rows:
            write_table(uri, rows.replace_schema_metadata(IMAGE_FEATURE))
        else:
            storage.delete(uri)

    def _check_same(self, there: pa.Table, now: pa.Table) -> None:
        """Raise UsageError for the first pair that differs from the manifest."""
        same = [
            pc.fill_null(pc.equal(there[name], now[name]), False).to_numpy()
            | (there[name].is_null().to_numpy() & now[name].is_null().to_numpy())
            for name in now.column_names
        ]
        others = np.flatnonzero(~np.logical_and.reduce(same))
        if not len(others):
            return
        known, found = (table.slice(int(others[0]), 1).to_pylist()[0] for table in (there, now))
        differing = [f"{name} {known[name]!r}, now {found[name]!r}" for name in found if known[name] != found[name]]
        raise UsageError(
            f"pair {found['pair_id']!r} is listed in {self.manifest} with {'; '.join(differing)}. "
            "Choose another --out for another archive."
        )


def without(pairs: pa.Table, ids: pa.Array) -> pa.Table:
    """Return the pairs whose id is not among these."""
    return pairs.filter(pc.invert(pc.is_in(pairs["pair_id"], value_set=ids)))


def _read_statuses(uri: str) -> pa.Table:
    rows = read_table(uri, ["pair_id", "status"])
    ok = pc.fill_null(pc.equal(rows["status"], "ok"), False)
    return pa.table([rows["pair_id"].cast(pa.string()), ok], schema=FINISHED)


def as_job_manifest(pairs: pa.Table) -> pa.Table:
    """Add the columns of segments of recordings, all null, to pairs of images."""
    columns = [
        pairs[field.name] if field.name in pairs.column_names else pa.nulls(len(pairs), field.type)
        for field in JOB_MANIFEST
    ]
    return pa.table(columns, schema=JOB_MANIFEST)


def _is_first(seen: set[str], pair_id: str) -> bool:
    if pair_id in seen:
        return False
    seen.add(pair_id)
    return True


FAILURES_NAMED = 5


def first_image(destination: Destination) -> str | None:
    """Return the file of the first fused image by pair_id; None where images are inside the rows."""
    rows = destination.read_columns(["pair_id", "fused_uri"])
    rows = rows.filter(pc.is_valid(rows["fused_uri"]))
    if not rows.num_rows:
        return None
    first: str = rows["fused_uri"][pc.index(rows["pair_id"], pc.min(rows["pair_id"])).as_py()].as_py()
    return first


def first_failures(destination: Destination) -> tuple[str, ...]:
    """Return the first failed pairs by pair_id, each with its error code and reason."""
    rows = destination.read_columns(["pair_id", "status", "error_code", "error"])
    failed = rows.filter(pc.equal(rows["status"], "failed")).sort_by("pair_id").slice(0, FAILURES_NAMED)
    return tuple(f"{row['pair_id']} ({row['error_code']}): {row['error']}" for row in failed.to_pylist())


def aggregate(destination: Destination, metrics: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Return mean, p5, p50 and p95 of every metric over all fused pairs; a metric without a value is left out."""
    if not metrics:
        return {}
    rows = destination.read_columns(["status", *metrics])
    rows = rows.filter(pc.equal(rows["status"], "ok"))
    return summarise({name: rows[name].drop_null().to_numpy() for name in metrics})
