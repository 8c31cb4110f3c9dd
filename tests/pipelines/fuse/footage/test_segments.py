"""Recordings cut into segments."""

import re
from fractions import Fraction

import pytest

from pipelines.fuse.config import FuseConfig
from pipelines.fuse.footage.container import VideoInfo
from pipelines.fuse.footage.segments import cut_recording, cut_times
from tests.recordings import heat, visible, write_pair, write_recording


def video(seconds: float | None, zero: int = 0) -> VideoInfo:
    return VideoInfo(zero, Fraction(1, 100), 25.0, seconds, 64, 48)


def test_cuts_lie_at_key_frames_near_the_nominal_length():
    assert cut_times(video(60), [n * 300 for n in range(20)], 10.0) == [0, 900, 1800, 2700, 3600, 4500]
    # The end is not a stump of its own.
    assert cut_times(video(50), [n * 300 for n in range(17)], 10.0) == [0, 900, 1800, 2700, 3600]


def test_without_key_frames_cuts_lie_by_plain_time():
    assert cut_times(video(36), [], 10.0) == [0, 1000, 2000, 3000]
    assert cut_times(video(34, zero=720), [], 10.0) == [720, 1720, 2720]
    assert cut_times(video(None), [], 10.0) == [0]
    assert cut_times(video(3), [], 10.0) == [0]
    # However short they shall be, a few frames of 40 ms are in each.
    assert cut_times(video(0.5), [], 0.01) == [0, 16, 32]


def test_key_frames_that_are_too_far_apart_are_not_waited_for():
    assert cut_times(video(100), [6000, 9000], 10.0) == [0, 1000, 2000, 3000, 4000, 6000, 7000, 9000]


def cut(a, b, **settings):
    config = FuseConfig(source="x", out="y", segment_seconds=1.0, **settings)
    pair = {"pair_id": "cam", "a_uri": str(a), "b_uri": str(b), "task": "ir_visible", "prompt": None}
    return cut_recording(pair, config)


@pytest.mark.parametrize(
    ("suffix", "codec", "unit"),
    [(".mp4", "h264", 12800), (".mkv", "h265", 1000), (".avi", "mjpeg", 25), (".ts", "h264", 90000)],
)
def test_recordings_of_every_container_are_cut(tmp_path, suffix, codec, unit):
    a, b = write_pair(tmp_path, suffix=suffix, codec=codec, seconds=4.0, gop=10)
    one = cut(a, b)
    assert one.failure is None
    assert [row["pair_id"] for row in one.rows] == [f"cam/segment_0000{n}" for n in range(len(one.rows))]
    starts = [row["start_pts"] for row in one.rows]
    zero = starts[0]
    # At key frames every 10 frames, the nearest to each second that is not before three quarters of it.
    expected = {
        ".mp4": [0, 0.8, 1.6, 2.4, 3.2],
        ".mkv": [0, 0.8, 1.6, 2.4, 3.2],
        ".avi": [0, 0.76, 1.52, 2.28, 3.04],
        ".ts": [0, 1, 2, 3],
    }
    assert [(start - zero) / unit for start in starts] == pytest.approx(expected[suffix])
    assert [row["end_pts"] for row in one.rows] == [*starts[1:], None]
    assert {(row["recording"], row["offset_s"], row["offset_confidence"]) for row in one.rows} == {("cam", 0.0, None)}


def test_what_only_a_shows_is_part_of_its_first_and_last_segment(tmp_path):
    a = write_recording(tmp_path / "a.mp4", (visible(n / 25) for n in range(200)))
    b = write_recording(tmp_path / "b.mp4", (heat(n / 25) for n in range(75)))
    one = cut(a, b, offset=2.5)
    assert [row["start_pts"] / 12800 for row in one.rows] == pytest.approx([0, 3.2, 4.0, 4.8])
    assert one.rows[-1]["end_pts"] is None


@pytest.mark.parametrize("offset", [0.0, 1.4, -2.2])
def test_offsets_are_found_from_what_moves(tmp_path, offset):
    a = write_recording(tmp_path / "a.mp4", (visible(5 + n / 25) for n in range(500)))
    b = write_recording(tmp_path / "b.mkv", (heat(5 + offset + n / 30) for n in range(600)), codec="h265", rate=30)
    one = cut(a, b, offset="auto")
    assert one.failure is None
    assert [row["offset_s"] for row in one.rows] == [pytest.approx(offset, abs=0.017)] * len(one.rows)
    assert all(row["offset_confidence"] > 0.15 for row in one.rows)


def test_recordings_of_different_scenes_are_one_row_with_a_reason(tmp_path):
    a = write_recording(tmp_path / "a.mp4", (visible(n / 25) for n in range(250)))
    b = write_recording(tmp_path / "b.mp4", (heat(0.0) for n in range(250)))
    one = cut(a, b, offset="auto")
    assert one.failure is not None
    assert one.failure[0] == "not_synchronised"
    assert "--offset SECONDS" in one.failure[1]
    assert [(row["pair_id"], row["recording"], row.get("start_pts")) for row in one.rows] == [("cam", "cam", None)]


def test_sources_that_cannot_be_cut_are_one_row_with_a_reason(tmp_path):
    a, b = write_pair(tmp_path, seconds=1.0)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1/x.ts\n")
    (tmp_path / "cut.mp4").write_bytes(a.read_bytes()[:3000])
    write_recording(tmp_path / "old.avi", [visible(0.0)] * 3, codec="mpeg4")
    reasons = {
        name: cut(a, tmp_path / name).failure[0]
        for name in ("missing.mp4", "empty.mp4", "text.mp4", "cut.mp4", "old.avi")
    }
    assert reasons == {
        "missing.mp4": "source_missing",
        "empty.mp4": "empty_file",
        "text.mp4": "not_a_recording",
        "cut.mp4": "truncated_recording",
        "old.avi": "unsupported_recording",
    }
    code, sentence = cut(a, b, max_pixels=1000).failure
    assert code == "too_large"
    assert re.search(rf"{a}\b.*64x48.*\b1000\b.*--max-pixels", sentence)
