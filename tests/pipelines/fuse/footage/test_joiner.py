"""Joining: read back, then the segments are removed."""

from pathlib import Path

import av
import pyarrow as pa
import pytest

from pipelines.fuse.footage.concat import Frames, check_frames, segment_uri
from pipelines.fuse.footage.segment_files import lost_segments, remove_joined
from pipelines.fuse.schemas import JOB_MANIFEST
from tests.pipelines.fuse.footage.job import Job
from tests.recordings import write_pair


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> tuple[Path, Path]:
    return write_pair(tmp_path_factory.mktemp("sources"), seconds=0.8, gop=8)


def segments(job: Job) -> list[Path]:
    return sorted(Path(job.destination.segments).rglob("*.mp4"))


def manifest_of(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist([{name: row[name] for name in JOB_MANIFEST.names} for row in rows], JOB_MANIFEST)


def test_segments_are_removed_once_their_recording_is_joined(sources, tmp_path):
    job = Job(tmp_path)
    rows = job.fuse(job.cut(*sources))
    assert len(segments(job)) == len(rows) == 2
    about = job.join(rows)
    assert (about["verified"], about["missing"], about["frames"]) == (True, [], 20)
    assert not Path(job.destination.segments).exists()
    assert [row["segment_uri"] for row in rows] == [None, None]
    with av.open(about["uri"]) as played:
        assert len(list(played.decode(video=0))) == 20


def test_segments_are_kept_on_request_and_where_the_recording_has_a_gap(sources, tmp_path):
    kept = Job(tmp_path / "kept", keep_segments=True)
    rows = kept.fuse(kept.cut(*sources))
    kept.join(rows)
    assert [Path(row["segment_uri"]) for row in rows] == segments(kept)
    gap = Job(tmp_path / "gap")
    cut = gap.cut(*sources)
    cut[1] |= {"error_code": "fuse_failed", "error": "for this test"}
    about = gap.join(gap.fuse(cut))
    assert (about["verified"], len(about["missing"])) == (True, 1)
    assert len(segments(gap)) == 1, "--retry-failed joins it anew from them"


def test_a_joined_file_that_lacks_a_frame_or_has_another_is_noticed(sources):
    a, b = sources
    whole = Frames()
    with av.open(str(a)) as container:
        for packet in container.demux(video=0):
            whole.add(packet)
    check_frames(a, whole)
    for file, expected in ((b, whole), (a, Frames(whole.count - 1, whole.checksum))):
        with pytest.raises(ValueError, match=str(expected.count)):
            check_frames(file, expected)


def test_what_a_killed_job_left_is_removed_and_what_is_lost_is_found(sources, tmp_path):
    job = Job(tmp_path)
    rows = job.fuse(job.cut(*sources))
    manifest, destination = manifest_of(rows), job.destination
    assert len(lost_segments(destination, job.config, manifest, destination.finished())) == 0
    data = segments(job)[0].read_bytes()
    about = job.join(rows)
    assert len(lost_segments(destination, job.config, manifest, destination.finished())) == 0

    left = Path(segment_uri(destination, rows[0]["pair_id"], job.config))
    left.parent.mkdir(parents=True)
    left.write_bytes(data)
    older = about | {"verified": False}
    remove_joined(destination, job.config, [older], manifest)
    assert left.exists(), "a recording that nobody read back may need them"
    remove_joined(destination, job.config, [about], manifest)
    assert not left.parent.exists()

    destination.remove_rows(destination.finished(), pa.array([rows[0]["pair_id"]]))
    lost = lost_segments(destination, job.config, manifest, destination.finished())
    assert lost.to_pylist() == [rows[1]["pair_id"]], "the first is fused again, and joined with the second"

    Path(destination.recordings, "cam.json").unlink()
    lost = lost_segments(destination, job.config, manifest, destination.finished())
    assert lost.to_pylist() == [rows[1]["pair_id"]]
    destination.remove_rows(destination.finished(), lost)
    assert destination.finished().rows.num_rows == 0
