"""Segments through the actor and the join, without Ray: the frames, times, rows and failures that come out."""

import re
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pytest
import torch

from pipelines.errors.failures import FAILURE, STORE_LOST
from pipelines.fuse.footage import segment_actor
from pipelines.fuse.footage.frames import open_source
from pipelines.fuse.ranges import settle_ranges
from pipelines.fuse.schemas import JOB_MANIFEST
from pipelines.sources.ranges import pair_options
from pipelines.storage.parquet import read_table
from tests.pipelines.blocks import raising
from tests.pipelines.fuse.footage.job import Job
from tests.recordings import heat, visible, write_pair, write_recording
from upfusion.model import load


def read(uri: object) -> list[tuple[float, np.ndarray]]:
    with open_source(str(uri), 10**8) as source:
        return [(frame.seconds, frame.read()) for frame in source.frames(0, float("inf"))]


@pytest.mark.parametrize("codec", ["ffv1", "h264"])
def test_fused_frames_are_those_of_the_same_two_images_at_the_times_of_a(tmp_path, codec):
    a, b = write_pair(tmp_path, seconds=1.6, gop=8)
    rows, about = Job(tmp_path / "out", video_codec=codec, metrics_every=4).run(a, b)
    assert [row["status"] for row in rows] == ["ok"] * 5
    joined = read(about["uri"])
    assert [at for at, _ in joined] == pytest.approx(
        [n / 25 for n in range(40)], abs=0.001 if codec == "ffv1" else 1e-9
    )
    model = load("tiny", "cpu")
    for (_, pixels_a), (_, pixels_b), (_, fused) in list(zip(read(a), read(b), joined, strict=True))[::7]:
        expected = model.fuse(pixels_a, pixels_b)
        if codec == "ffv1":
            np.testing.assert_array_equal(fused, expected)
        else:
            assert np.abs(fused.astype(float) - expected).mean() < 6
    frames = read_table(rows[1]["frames_uri"]).to_pylist()
    assert [frame["en"] is not None for frame in frames] == [n % 4 == 0 for n in range(8)]
    assert rows[1]["en"] == pytest.approx(np.mean([frame["en"] for frame in frames if frame["en"]]))
    assert rows[1]["flicker"] == pytest.approx(np.mean([frame["flicker"] for frame in frames[1:]]))
    assert frames[0]["flicker"] is None
    assert (rows[1]["frames"], rows[1]["measured"], rows[1]["unpaired"]) == (8, 2, 0)
    assert (rows[1]["start_s"], rows[1]["end_s"]) == pytest.approx((0.32, 0.64))
    assert (rows[1]["width"], rows[1]["height"], rows[1]["model"]) == (64, 48, "tiny")
    assert all(rows[1][f"{stage}_ms"] > 0 for stage in ("decode", "fuse", "measure", "encode"))


def test_other_rates_an_offset_and_drops_come_out_with_the_right_frames(tmp_path):
    kept = [n for n in range(40) if n not in (10, 11, 25)]
    a = write_recording(tmp_path / "a.mp4", (visible(n / 25) for n in kept), ticks=kept, codec="h264", gop=8)
    # B began 0.2 s later and runs at 30 frames/s.
    b = write_recording(tmp_path / "b.mkv", (heat(0.2 + n / 30) for n in range(60)), codec="ffv1", rate=30)
    rows, about = Job(tmp_path / "out", offset=0.2).run(a, b)
    frames = [frame for row in rows for frame in read_table(row["frames_uri"]).to_pylist()]
    shown = [n for n in kept if n >= 5]
    assert [frame["seconds"] for frame in frames] == pytest.approx([n / 25 for n in shown])
    assert all(abs(frame["b_seconds"] + 0.2 - frame["seconds"]) < 0.0178 for frame in frames)
    assert sum(row["unpaired"] for row in rows) == 5
    assert sum(row["a_dropped"] for row in rows) == 3
    assert [at + shown[0] / 25 for at, _ in read(about["uri"])] == pytest.approx([n / 25 for n in shown])
    assert re.search(r"\b5\b.*\bA\b.*\bB\b", rows[0]["note"])
    assert (about["frames"], about["missing"]) == (len(shown), [])


def test_fewer_frames_are_fused_on_request_at_their_own_times(tmp_path):
    a, b = write_pair(tmp_path, seconds=1.6, gop=8)
    for settings, step in (({"every": 4}, 4), ({"fps": 5.0}, 5)):
        rows, about = Job(tmp_path / f"out{step}", metrics="none", **settings).run(a, b)
        assert [at for at, _ in read(about["uri"])] == pytest.approx([n * step / 25 for n in range(40 // step)])
        assert [row["a_dropped"] for row in rows] == [0] * len(rows)


def test_a_recording_with_a_damaged_part_has_a_gap_and_says_where(tmp_path):
    a, b = write_pair(tmp_path, seconds=2.0, codec="ffv1", suffix=".mkv")
    data = b.read_bytes()
    b.write_bytes(data[: len(data) // 2])
    job = Job(tmp_path / "out")
    rows, about = job.run(a, b)
    failed = [row for row in rows if row["status"] == "failed"]
    assert {row["error_code"] for row in failed} <= {"no_partner", "truncated_recording"}
    assert 1 <= len(failed) < len(rows)
    assert about["missing"] == [
        {
            "from": row["start_pts"] / 1000,
            "to": row["end_pts"] and row["end_pts"] / 1000,
            "error_code": row["error_code"],
        }
        for row in failed
    ]
    assert len(read(about["uri"])) == about["frames"] == sum(row["frames"] or 0 for row in rows)

    # Once B is whole, the failed segments alone are done again, and the recording is what it would have been.
    b.write_bytes(data)
    again = job.fuse([row | {"error_code": None, "error": None} for row in rows if row["status"] == "failed"])
    mended = [row for row in again if row["status"] == "ok"]
    assert len({row["pair_id"] for row in mended}) == len(rows)
    whole = job.join(mended)
    assert (whole["missing"], whole["frames"]) == ([], sum(row["frames"] for row in mended))


def test_a_gap_in_the_middle_keeps_the_times_of_what_follows(tmp_path):
    a, b = write_pair(tmp_path, seconds=1.6, gop=8)
    job = Job(tmp_path / "out", metrics="none")
    segments = job.cut(a, b)
    segments[2] |= {"error_code": "fuse_failed", "error": "for this test"}
    rows = job.fuse(segments)
    about = job.join(rows)
    assert about["missing"] == [{"from": 0.64, "to": 0.96, "error_code": "fuse_failed"}]
    assert [at for at, _ in read(about["uri"])] == pytest.approx([n / 25 for n in range(40) if not 16 <= n < 24])


@pytest.mark.parametrize(("audio", "streams"), [("copy", 1), ("drop", 0)])
def test_the_sound_of_a_is_copied_or_dropped(tmp_path, audio, streams):
    a, b = write_pair(tmp_path, seconds=1.0, audio=True)
    _, about = Job(tmp_path / "out", metrics="none", audio=audio).run(a, b)
    assert about["note"] is None
    with av.open(about["uri"]) as joined, av.open(str(a)) as source:
        assert len(joined.streams.audio) == streams
        if streams:
            heard = [bytes(packet) for packet in joined.demux(audio=0) if packet.size]
            assert heard == [bytes(packet) for packet in source.demux(audio=0) if packet.size and packet.pts >= 0]


def test_ten_bits_are_kept_where_the_codec_has_them(tmp_path):
    a, b = write_pair(tmp_path, seconds=0.4, codec="h265-10", suffix=".mkv")
    for codec, bits in (("h264", 8), ("h265", 10), ("ffv1", 16)):
        _, about = Job(tmp_path / codec, metrics="none", video_codec=codec).run(a, b)
        with av.open(about["uri"]) as joined:
            assert max(part.bits for part in joined.streams.video[0].format.components) == bits


def test_sizes_that_differ_are_refused_or_made_one(tmp_path):
    a = write_recording(tmp_path / "a.mp4", (visible(n / 25) for n in range(10)))
    b = write_recording(tmp_path / "b.mp4", (heat(n / 25, (32, 24)) for n in range(10)))
    (row,) = Job(tmp_path / "refused").fuse(Job(tmp_path / "x").cut(a, b))
    assert row["error_code"] == "size_mismatch"
    assert re.search(r"\bA\b.*64x48.*\bB\b.*32x24", row["error"])
    assert "--resize b-to-a" in row["error"]
    rows, about = Job(tmp_path / "resized", resize="b-to-a").run(a, b)
    assert (rows[0]["status"], rows[0]["width"], len(read(about["uri"]))) == ("ok", 64, 10)


def test_what_is_wrong_with_a_segment_is_its_row(tmp_path, monkeypatch):
    a, b = write_pair(tmp_path, seconds=0.4)
    job = Job(tmp_path / "out")
    segments = job.cut(a, b)

    def outcome(changes: dict) -> tuple[str, str]:
        (row,) = job.fuse([segments[0] | changes])
        assert row["status"] == "failed"
        return row["error_code"], row["error"]

    assert outcome({"offset_s": 100.0})[0] == "no_partner"
    code, error = outcome({"b_uri": str(tmp_path / "none.mp4")})
    assert code == "source_missing"
    assert f"{tmp_path}/none.mp4" in error
    monkeypatch.setattr(job.actor.fuser, "fuse_batch", raising(torch.OutOfMemoryError("CUDA out of memory.")))
    assert outcome({})[0] == "out_of_memory"
    monkeypatch.setattr(job.actor.fuser, "fuse_batch", raising(ValueError("bad value")))
    assert outcome({}) == ("fuse_failed", "ValueError: bad value")
    assert not list((tmp_path / "out").rglob("*.mp4"))


def test_a_destination_that_takes_nothing_stops_the_job_and_leaves_no_row(tmp_path, monkeypatch):
    a, b = write_pair(tmp_path, seconds=0.4)
    job = Job(tmp_path / "out")
    monkeypatch.setattr(segment_actor.storage, "move_here", raising(OSError(28, "No space left on device", "x")))
    block = pa.Table.from_pylist(job.cut(a, b), pa.schema([*JOB_MANIFEST, *FAILURE]))
    (told,) = job.actor(block).to_pylist()
    assert told["error_code"] == STORE_LOST
    assert "No space left" in told["stopped"]
    assert job.destination.pair_files() == []


class RoomOnADevice:
    """What an actor on a GPU knows of its memory."""

    def release(self) -> None:
        pass


def passes_of(job: Job, monkeypatch: pytest.MonkeyPatch, fits: int = 99) -> list[int]:
    """Let passes of 4 frames through, and note how large those are that fit."""
    monkeypatch.setattr(segment_actor, "PIXELS_A_PASS_GPU", 4 * 64 * 48)
    job.actor.memory = RoomOnADevice()
    fuse, passes = job.actor.fuser.fuse_batch, list[int]()

    def noted(a: list[Any], b: list[Any], text: torch.Tensor, *guide: Any) -> Any:
        if len(a) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        passes.append(len(a))
        return fuse(a, b, text, *guide)

    monkeypatch.setattr(job.actor.fuser, "fuse_batch", noted)
    return passes


def test_frames_pass_the_network_in_full_batches_where_there_is_room(tmp_path, monkeypatch):
    a, b = write_pair(tmp_path, seconds=0.4)
    job = Job(tmp_path / "out")
    passes = passes_of(job, monkeypatch)
    (row,) = job.fuse(job.cut(a, b))
    assert passes == [4, 4, 2]
    assert (row["frames"], row["flicker"] is None) == (10, False)
    assert Fraction(row["time_base"]) == Fraction(1, 12800)


def test_a_pass_that_takes_too_much_memory_is_halved_and_stays_so(tmp_path, monkeypatch):
    a, b = write_pair(tmp_path, seconds=0.4)
    job = Job(tmp_path / "out")
    passes = passes_of(job, monkeypatch, fits=2)
    (row,) = job.fuse(job.cut(a, b))
    assert passes == [2, 2, 2, 2, 2]
    assert (row["status"], row["frames"]) == ("ok", 10)
    assert job.actor.frames_a_pass(48, 64) == 2
    monkeypatch.setattr(job.actor.fuser, "fuse_batch", raising(torch.OutOfMemoryError("CUDA out of memory")))
    assert job.actor(pa.Table.from_pylist(job.cut(a, b), pa.schema([*JOB_MANIFEST, *FAILURE])))[
        "error_code"
    ].to_pylist() == ["out_of_memory"]


def test_counts_of_a_recording_are_fused_in_one_range_and_flicker_no_more_than_they_do(tmp_path):
    a = write_recording(tmp_path / "a.mkv", (visible(n / 25) for n in range(24)), codec="ffv1", gop=8)
    counts = [(22_000 + 5 * heat(n / 25).astype(np.uint16)).astype(np.uint16) for n in range(24)]
    b = write_recording(tmp_path / "b.mkv", counts, codec="ffv1-16", gop=8)
    job = Job(tmp_path / "out", video_codec="ffv1")
    pairs = pa.Table.from_pylist([{"a_uri": str(a), "b_uri": str(b)}])
    ranges = settle_ranges(pairs, job.config)
    assert ranges["a"] == {}
    job.actor.options = pair_options(job.config, ranges)
    rows, about = job.run(a, b)
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["range_b"] for row in rows} == {ranges["b"]["uint16"]}
    low, high = map(float, ranges["b"]["uint16"].split(":"))
    assert 22_000 <= low < 22_300
    assert high < 23_275
    mapped = [np.clip((frame - low) / (high - low), 0, 1) * 65535 for frame in counts]
    model = load("tiny", "cpu")
    expected = model.fuse(visible(0), np.rint(mapped[0]).astype(np.uint16))
    np.testing.assert_array_equal(read(about["uri"])[0][1], expected)
    # Where nothing moves, the fused frames change no more than the sources do.
    assert all(row["flicker"] < 1.5 for row in rows)
