"""Recordings are cut in a stage whose results are kept: after an interruption, of a grown archive, only the rest is."""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.cluster.runner import Progress, StoreLostError
from pipelines.errors.exceptions import UsageError
from pipelines.fuse import job as jobs
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination
from pipelines.fuse.footage import cuts as module
from pipelines.fuse.footage.cuts import Cutter
from pipelines.fuse.footage.segment_actor import SegmentActor
from pipelines.fuse.footage.segments import Cut, cut_recording
from pipelines.fuse.job import Outcome, fuse
from pipelines.fuse.plan import Plan, plan_fuse
from pipelines.fuse.schemas import JOB_MANIFEST
from pipelines.storage import objects as storage
from pipelines.storage.parquet import read_table, write_table
from pipelines.tracking.run import InputData, TrackedRun
from tests.recordings import write_pair

NAMES = [f"cam{number}" for number in range(4)]
Counted = list[str]


class Killed(BaseException):
    """Stands for what ends a process: nothing catches it."""


def config(source: object, out: object, **settings: Any) -> FuseConfig:
    given = {"model": "mean", "metrics": "none", "segment_seconds": 0.35, "runner": "inline", "no_tracking": True}
    return FuseConfig(source=str(source), out=str(out), **given | settings)


def plan(source: object, out: object, **settings: Any) -> Plan:
    return plan_fuse(config(source, out, **settings))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give A back where the network is; all else is as in a job."""
    monkeypatch.setattr(SegmentActor, "fuse_ready", lambda _, ready, *__: [one.a for one in ready])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for name in NAMES:
        write_pair(tmp_path / "in", name, seconds=0.8, gop=8)
    return tmp_path / "in"


@pytest.fixture
def cut_now(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """The names of recordings that are opened to be cut, one after the other."""
    counted = Counted()

    def counting(pair: dict[str, Any], config: FuseConfig) -> Cut:
        counted.append(pair["pair_id"])
        return cut_recording(pair, config)

    monkeypatch.setattr(module, "cut_recording", counting)
    monkeypatch.setattr(module, "RECORDINGS_AT_ONCE", 1)
    return counted


def die_while_cutting(done: int) -> Callable[[Progress], None]:
    """Die when so many recordings are cut."""

    def on_progress(progress: Progress) -> None:
        if progress.doing == "cutting" and progress.done == done and not progress.notice:
            raise Killed

    return on_progress


def segments_of(archive: Path, out: Path, names: list[str], **settings: Any) -> list[dict[str, Any]]:
    """What cutting gives for each pair by itself."""
    made = plan(archive, out, **settings)
    pairs = {pair["pair_id"]: pair for pair in made.found.pairs.to_pylist()}
    return [row for name in names for row in cut_recording(pairs[name], made.config).rows]


def rows_of(out: Path) -> list[dict[str, Any]]:
    rows = [row for uri in Destination(str(out)).pair_files() for row in read_table(uri).to_pylist()]
    return sorted(rows, key=lambda row: row["pair_id"])


def frames_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "recordings").glob("*.mp4")}


def test_a_job_killed_while_it_cuts_cuts_only_the_rest(archive: Path, tmp_path: Path, cut_now: Counted) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    with pytest.raises(Killed):
        fuse(plan(archive, out), die_while_cutting(2))
    assert cut_now == NAMES[:2]
    assert not (out / "manifest.parquet").exists()
    kept = {path: path.stat().st_mtime_ns for path in (out / "cuts").iterdir()}
    assert len(kept) == 2

    seen: list[Progress] = []
    outcome: Outcome = fuse(plan(archive, out), seen.append)
    assert cut_now == NAMES
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    cutting = [(one.done, one.total, one.unit) for one in seen if one.doing == "cutting" and not one.notice]
    assert cutting == [(0, 2, "recordings"), (1, 2, "recordings"), (2, 2, "recordings")]
    (notice,) = [one.notice for one in seen if one.doing == "cutting" and one.notice]
    assert re.search(r"\b2\b.*\b4\b", notice)

    # The manifest is what cutting each by itself gives, and the recordings are those of a job that nothing stopped.
    assert Destination(str(out)).read_manifest().to_pylist() == [
        dict.fromkeys(JOB_MANIFEST.names) | row for row in segments_of(archive, whole, NAMES)
    ]
    assert (outcome.ok, outcome.failed) == (8, 0)
    fuse(plan(archive, whole))
    assert frames_of(out) == frames_of(whole)
    assert len(frames_of(out)) == len(NAMES)


def test_of_a_grown_archive_only_what_is_new_is_cut(archive: Path, tmp_path: Path, cut_now: Counted) -> None:
    out = tmp_path / "out"
    fuse(plan(archive, out))
    assert cut_now == NAMES
    write_pair(archive, "cam9", seconds=0.4, gop=8)
    assert fuse(plan(archive, out)).fused_now == 1
    assert cut_now == [*NAMES, "cam9"]
    assert fuse(plan(archive, out)).fused_now == 0
    assert len(cut_now) == 5


def test_a_destination_of_a_version_that_kept_no_cuts_resumes(archive: Path, tmp_path: Path, cut_now: Counted) -> None:
    out = tmp_path / "out"
    fuse(plan(archive, out, keep_segments=True))
    for path in (out / "cuts").iterdir():
        path.unlink()
    (out / "cuts").rmdir()
    destination = Destination(str(out))
    for uri in destination.pair_files()[:3]:
        storage.delete(uri)
    assert fuse(plan(archive, out, keep_segments=True)).fused_now == 3
    assert cut_now == NAMES
    assert [row["status"] for row in rows_of(out)] == ["ok"] * 8


def test_a_joined_recording_that_lost_rows_of_a_segment_is_fused_and_joined_anew(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fuse(plan(archive, out))
    joined = {path.name: path.read_bytes() for path in (out / "recordings").iterdir()}
    destination = Destination(str(out))
    storage.delete(destination.pair_files()[0])
    outcome = fuse(plan(archive, out))
    assert (outcome.fused_now, outcome.ok, outcome.failed) == (2, 8, 0)
    assert {path.name: path.read_bytes() for path in (out / "recordings").iterdir()} == joined


def test_why_a_recording_cannot_be_cut_is_kept_and_looked_at_again_on_request(
    archive: Path, tmp_path: Path, cut_now: Counted
) -> None:
    out, broken = tmp_path / "out", archive / "infrared" / "cam0.mp4"
    sound = broken.read_bytes()
    broken.write_text("<html>404</html>")
    with pytest.raises(Killed):
        fuse(plan(archive, out), die_while_cutting(2))
    outcome = fuse(plan(archive, out))
    assert cut_now == NAMES
    assert (outcome.ok, outcome.failed) == (6, 1)
    failed = rows_of(out)[0]
    assert (failed["pair_id"], failed["recording"], failed["error_code"]) == ("cam0", "cam0", "not_a_recording")
    assert str(broken) in failed["error"]

    broken.write_bytes(sound)
    assert fuse(plan(archive, out)).failed == 1
    assert cut_now == NAMES
    outcome = fuse(plan(archive, out, retry_failed=True))
    assert cut_now == [*NAMES, "cam0"]
    assert (outcome.ok, outcome.failed, outcome.fused_now) == (8, 0, 2)


def test_a_file_that_lost_its_content_is_written_anew(archive: Path, tmp_path: Path, cut_now: Counted) -> None:
    out = tmp_path / "out"
    with pytest.raises(Killed):
        fuse(plan(archive, out), die_while_cutting(3))
    next((out / "cuts").iterdir()).write_bytes(b"")
    assert fuse(plan(archive, out)).ok == 8
    assert len(cut_now) == 5


def test_a_cut_belongs_to_its_sources(archive: Path, tmp_path: Path, cut_now: Counted) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    with pytest.raises(Killed):
        fuse(plan(archive, out), die_while_cutting(4))
    write_pair(other, "cam0", seconds=0.4, gop=8)
    fuse(plan(other, out))
    assert cut_now == [*NAMES, "cam0"]
    assert [row["a_uri"] for row in rows_of(out)] == [str(other / "visible" / "cam0.mp4")]
    # What the manifest lists stays with its sources.
    with pytest.raises(UsageError, match="cam0"):
        fuse(plan(archive, out))


@pytest.mark.parametrize("lost", ["source", "destination"])
def test_a_store_that_is_away_stops_the_job_and_leaves_no_cut(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    out = tmp_path / "out"
    if lost == "source":
        row = {"pair_id": "cam0"}
        monkeypatch.setattr(module, "cut_recording", lambda *_: Cut([row], ("store_lost", "s3://x is away")))
    else:

        def refuse(uri: str, table: pa.Table) -> None:
            raise OSError(5, "no space") if "/cuts/" in uri else write_table(uri, table)

        monkeypatch.setattr(module, "write_table", refuse)
    with pytest.raises(StoreLostError, match="s3://x" if lost == "source" else str(out)):
        fuse(plan(archive, out))
    assert not (out / "cuts").exists()
    assert not (out / "manifest.parquet").exists()
    monkeypatch.undo()
    assert fuse(plan(archive, out)).ok == 8


def test_nothing_that_only_the_manifest_names_is_opened_before_it_is_checked(
    archive: Path, tmp_path: Path, cut_now: Counted
) -> None:
    out = tmp_path / "out"
    fuse(plan(archive, out))
    elsewhere = dict.fromkeys(JOB_MANIFEST.names) | {
        "pair_id": "theirs", "a_uri": "https://theirs/a.mp4", "b_uri": "https://theirs/b.mp4", "task": "ir_visible",
        "recording": "theirs",
    }  # fmt: skip
    destination = Destination(str(out))
    rows = [*destination.read_manifest().to_pylist(), elsewhere]
    write_table(destination.manifest, pa.Table.from_pylist(rows, JOB_MANIFEST))
    with pytest.raises(UsageError, match="theirs"):
        fuse(plan(archive, out))
    assert cut_now == NAMES
    # With a limit it is none of the pairs of this run.
    assert fuse(plan(archive, out, limit=2)).fused_now == 0
    assert cut_now == NAMES


def test_where_offsets_are_estimated_progress_is_by_the_recording(archive: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    fuse(plan(archive, tmp_path / "out", offset="auto"), seen.append)
    assert [one.done for one in seen if one.doing == "cutting"] == [0, 1, 2, 3, 4]
    assert {row["offset_s"] for row in rows_of(tmp_path / "out")} == {0.0}
    assert seen[-1].doing == "joining"


def test_the_stage_writes_one_file_per_recording_and_says_which_failed(archive: Path, tmp_path: Path) -> None:
    made = plan(archive, tmp_path / "out")
    (archive / "visible" / "cam3.mp4").write_bytes(b"")
    destination = Destination(str(tmp_path / "out"))
    outcome = Cutter(made.config, destination)(made.found.pairs).to_pylist()
    assert [(row["recording"], row["error_code"], row["stopped"]) for row in outcome] == [
        ("cam0", None, None), ("cam1", None, None), ("cam2", None, None), ("cam3", "empty_file", None),
    ]  # fmt: skip
    assert len(storage.list_files(destination.cuts)) == len(NAMES)


def test_the_run_is_there_before_and_names_the_recordings_whether_they_are_cut_or_not(
    archive: Path, tmp_path: Path, cut_now: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[int, str]] = []

    @contextmanager
    def open_run(*_: object, data: InputData, **__: object) -> Iterator[TrackedRun]:
        opened.append((len(cut_now), data.digest))
        yield TrackedRun()

    monkeypatch.setattr(jobs, "open_run", open_run)
    with pytest.raises(Killed):
        fuse(plan(archive, tmp_path / "out"), die_while_cutting(2))
    for _ in range(2):
        fuse(plan(archive, tmp_path / "out"))
    assert [cut for cut, _ in opened] == [0, 2, 4]
    assert len({digest for _, digest in opened}) == 1
    assert opened[0][1] == hashlib.sha256("\n".join(NAMES).encode()).hexdigest()
