"""Pairs of images and recordings, counted apart."""

import pyarrow as pa

from pipelines.fuse.counts import RecordingCounts, count
from pipelines.fuse.destination import FINISHED, Finished
from pipelines.fuse.schemas import JOB_MANIFEST


def counts_of(rows: list[tuple[str, str | None, bool | None]], recordings: list[dict]):
    """`rows`: id, recording, and whether it was fused (None without a row)."""
    manifest = [dict.fromkeys(JOB_MANIFEST.names) | {"pair_id": name, "recording": of} for name, of, _ in rows]
    table = pa.table(
        {name: pa.array([row[name] for row in manifest], pa.string()) for name in ("pair_id", "recording")}
    )
    done = [{"pair_id": name, "ok": ok} for name, _, ok in rows if ok is not None]
    return count(table, Finished(pa.Table.from_pylist(done, FINISHED), {}), recordings)


def test_images_alone():
    found = counts_of([("a", None, True), ("b", None, False), ("c", None, None)], [])
    assert found.summary() == {"pairs": 3, "ok": 1, "failed": 1}


def test_a_recording_is_one_however_many_segments_it_has():
    rows = [("a", None, True), ("r/0", "r", True), ("r/1", "r", False), ("s/0", "s", True), ("t", "t", False)]
    rows += [("u/0", "u", None)]
    about = [{"uri": "r", "missing": [1]}, {"uri": "s", "missing": []}, {"uri": None, "missing": [1]}]
    found = counts_of(rows, about)
    assert (found.pairs, found.ok, found.failed) == (1, 1, 0)
    assert found.of_recordings == RecordingCounts(
        recordings=4, recordings_ok=1, recordings_with_gaps=1, recordings_failed=1, segments=5, segments_failed=2
    )
    assert found.summary()["recordings"] == 4
