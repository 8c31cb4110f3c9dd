"""The small video that the report embeds: every browser plays it, and its size is bounded."""

from pathlib import Path

import av
import numpy as np
import pytest

from pipelines.fuse.footage.preview import KILOBITS_A_SECOND, LONG_SIDE, MOST_FRAMES_A_SECOND, SECONDS, write_preview
from tests.recordings import visible, write_recording


def preview_of(recording: Path, tmp_path: Path) -> tuple[bytes, dict]:
    file = tmp_path / "preview.mp4"
    write_preview(recording, file)
    with av.open(str(file)) as played:
        video = played.streams.video[0]
        times = [float(frame.pts * frame.time_base) for frame in played.decode(video)]
        about = {
            "codec": video.codec_context.name,
            "pixels": video.codec_context.pix_fmt,
            "size": (video.width, video.height),
            "aspect": float(video.sample_aspect_ratio or 1),
        }
        return file.read_bytes(), about | {"times": times}


@pytest.mark.parametrize(("codec", "suffix"), [("h264", ".mp4"), ("h265-10", ".mp4"), ("ffv1", ".mkv")])
def test_any_recording_becomes_what_browsers_play(codec, suffix, tmp_path):
    frames = [visible(n / 10) for n in range(12)]
    data, about = preview_of(write_recording(tmp_path / f"in{suffix}", frames, codec, rate=10), tmp_path)
    assert (about["codec"], about["pixels"], about["size"]) == ("h264", "yuv420p", (64, 48))
    assert about["times"] == pytest.approx([n / 10 for n in range(12)], abs=2e-3)
    assert data.find(b"moov") < data.find(b"mdat"), "players need the index before the frames"


def test_odd_and_large_frames_become_small_and_even(tmp_path):
    frames = [np.full((315, 1001, 3), 90, np.uint8)] * 2
    _, about = preview_of(write_recording(tmp_path / "in.mkv", frames, "ffv1", rate=10), tmp_path)
    assert about["size"] == (LONG_SIDE, 152)


def test_length_rate_and_size_are_bounded(tmp_path):
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(16)]
    rate = 60
    frames = (noise[n % 16] for n in range(round(SECONDS + 2) * rate))
    recording = write_recording(tmp_path / "in.mp4", frames, rate=rate, options={"preset": "ultrafast"})
    data, about = preview_of(recording, tmp_path)
    assert SECONDS - 0.1 < about["times"][-1] < SECONDS
    assert len(about["times"]) == pytest.approx(SECONDS * MOST_FRAMES_A_SECOND, abs=2)
    assert len(data) < 1.1 * SECONDS * KILOBITS_A_SECOND * 1000 / 8
