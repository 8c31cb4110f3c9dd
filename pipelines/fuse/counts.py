"""What a fuse job has done, counted as its users count: pairs of images, and recordings."""

import functools
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors.failures import Row
from pipelines.fuse.destination import Destination, Finished
from pipelines.measure.summary import Undefined, count_undefined, reasons_in_note


@dataclass(frozen=True)
class RecordingCounts:
    """How many recordings there are and what became of them; those that have no row yet are in the total alone."""

    recordings: int = 0
    recordings_ok: int = 0
    """Joined without a gap."""
    recordings_with_gaps: int = 0
    recordings_failed: int = 0
    """Without any fused frame."""
    segments: int = 0
    segments_failed: int = 0


@dataclass(frozen=True)
class Counts:
    """Pairs of images, and recordings."""

    pairs: int
    ok: int
    failed: int
    of_recordings: RecordingCounts = RecordingCounts()

    def summary(self) -> dict[str, int]:
        """Return the numbers by name, those of recordings only where there are any."""
        numbers = {"pairs": self.pairs, "ok": self.ok, "failed": self.failed}
        return numbers | (asdict(self.of_recordings) if self.of_recordings.recordings else {})


def count(manifest: pa.Table, finished: Finished, recordings: list[Row]) -> Counts:
    """Count the rows of a manifest; `recordings` are the descriptions of those that are complete."""
    if manifest["recording"].null_count == manifest.num_rows:
        return Counts(manifest.num_rows, finished.ok, finished.failed)
    images = manifest.filter(pc.is_null(manifest["recording"]))["pair_id"].combine_chunks()
    is_image = pc.is_in(finished.rows["pair_id"], value_set=images)
    ok = pc.sum(finished.rows.filter(is_image)["ok"]).as_py() or 0
    failed = (pc.sum(is_image).as_py() or 0) - ok
    joined = [one for one in recordings if one["uri"]]
    gaps = sum(bool(one["missing"]) for one in joined)
    return Counts(
        len(images),
        ok,
        failed,
        RecordingCounts(
            recordings=pc.count_distinct(manifest["recording"]).as_py(),
            recordings_ok=len(joined) - gaps,
            recordings_with_gaps=gaps,
            recordings_failed=len(recordings) - len(joined),
            segments=manifest.num_rows - len(images),
            segments_failed=finished.failed - failed,
        ),
    )


def frames_of(segments: pa.Table, destination: Destination) -> int:
    """Return how many frames of recordings the rows of these pairs have."""
    if segments["recording"].null_count == segments.num_rows:
        return 0
    rows = destination.read_columns(["pair_id", "frames"])
    of_these = pc.is_in(rows["pair_id"], value_set=segments["pair_id"].combine_chunks())
    return pc.sum(rows.filter(of_these)["frames"]).as_py() or 0


def undefined_metrics(destination: Destination, metrics: tuple[str, ...]) -> dict[str, Undefined]:
    """Return which metrics have no value on some fused pairs, on how many, and why."""
    rows = destination.read_columns(["status", *metrics])
    rows = rows.filter(pc.equal(rows["status"], "ok"))
    incomplete = [name for name in metrics if rows[name].null_count]
    if not incomplete:
        return {}
    rows = destination.read_columns(["status", "note", *incomplete])  # notes are long
    return undefined_in(rows.filter(pc.equal(rows["status"], "ok")), incomplete)


def undefined_in(rows: pa.Table, metrics: Iterable[str]) -> dict[str, Undefined]:
    """Return which metrics have no value in some of these rows, which have a `note`."""
    metrics = list(metrics)
    lacking = functools.reduce(pc.or_, [pc.is_null(rows[name], nan_is_null=True) for name in metrics])
    rows = rows.filter(lacking).select(["note", *metrics])
    reasons = [(row, reasons_in_note(row["note"])) for row in rows.to_pylist()]
    return count_undefined({name: known.get(name) for name in metrics if row[name] is None} for row, known in reasons)
