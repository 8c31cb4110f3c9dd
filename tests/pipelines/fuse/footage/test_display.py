"""Length, rate, aspect ratio, rotation and open groups of pictures, as phones and cameras write them."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipelines.fuse.footage.container import RecordingError
from pipelines.fuse.footage.frames import open_source
from tests.recordings import _as_frame, _write_tone, visible

from .job import Job

OPEN = {"x264-params": "open-gop=1:scenecut=0:b-adapt=0:bframes=3:keyint=10:min-keyint=10"}


def write(
    path: Path,
    ticks: list[int],
    scale: int = 25,
    *,
    rate: int = 25,
    aspect: Fraction | None = None,
    turned: int = 0,
    sound: float = 0.0,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, scale)
        stream.codec_context.gop_size = 10
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if turned:
            stream.set_display_rotation(turned)
        heard = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        for number, tick in enumerate(ticks):
            frame = _as_frame(visible(number / 25)).reformat(format="yuv420p")
            frame.pts, frame.time_base = tick, Fraction(1, scale)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if heard is not None:
            _write_tone(container, heard, sound)
    return path


def seconds(path: Path) -> float | None:
    with open_source(str(path), 10**6) as source:
        return source.video.seconds


@pytest.mark.parametrize("start", [0, 25 * 3600, 25 * 36_000], ids=["0", "1 h", "10 h"])
@pytest.mark.parametrize("sound", [0.0, 9.0])
def test_an_mkv_is_as_long_as_its_film(tmp_path, start, sound):
    path = write(tmp_path / "a.mkv", [start + n for n in range(50)], sound=sound if start == 0 else 0.0)
    assert seconds(path) == pytest.approx(2.0, abs=0.002)
    job = Job(tmp_path / "out", metrics="none", segment_seconds=1.0)
    segments = job.cut(path, write(tmp_path / "b.mp4", [*range(50)]))
    assert [row["end_pts"] is None for row in segments] == [False, True]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_that_come_late_change_no_rate(tmp_path, suffix):
    late = [20 * n + 10 * (n in (7, 8, 20, 31)) for n in range(60)]
    with open_source(str(write(tmp_path / f"a{suffix}", late, 600, rate=30)), 10**6) as source:
        assert source.video.rate == pytest.approx(30, rel=0.001)


def test_frames_that_lack_change_no_rate(tmp_path):
    kept = [n for n in range(75) if n % 9]
    with open_source(str(write(tmp_path / "a.mp4", kept)), 10**6) as source:
        assert source.video.rate == 25


def test_two_phones_that_are_late_at_other_frames_are_paired_whole(tmp_path):
    late, other = ([20 * n + 10 * (n in those) for n in range(40)] for those in ((7, 8, 20), (5, 15, 16)))
    job = Job(tmp_path / "out", metrics="none", segment_seconds=10.0)
    a, b = (write(tmp_path / f"{name}.mp4", ticks, 600, rate=30) for name, ticks in (("a", late), ("b", other)))
    (row,) = job.fuse(job.cut(a, b))
    assert (row["frames"], row["note"], row["unpaired"], row["a_dropped"]) == (40, None, 0, 0)


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_pixels_that_are_not_square_stay_so(tmp_path, codec):
    path = write(tmp_path / "a.mp4", [*range(25)], aspect=Fraction(16, 11))
    rows, about = Job(tmp_path / "out", metrics="none", video_codec=codec, segment_seconds=0.5).run(path, path)
    assert len(rows) > 1
    with av.open(about["uri"]) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 11)


def test_an_mkv_that_does_not_say_the_aspect_is_noted(tmp_path):
    path = write(tmp_path / "a.mp4", [*range(10)], aspect=Fraction(16, 11))
    rows, _ = Job(tmp_path / "out", metrics="none", video_codec="ffv1").run(path, path)
    assert "16:11" in rows[0]["note"]


@pytest.mark.parametrize(("turned", "turns"), [(90, 1), (-90, -1), (180, 2)])
def test_frames_of_a_turned_camera_are_upright_once(tmp_path, turned, turns):
    path = write(tmp_path / "a.mp4", [*range(12)], turned=turned, aspect=Fraction(4, 3))
    plain = write(tmp_path / "plain.mp4", [*range(12)])
    with open_source(str(path), 10**6) as source, open_source(str(plain), 10**6) as stored:
        film = source.video
        expected = [np.rot90(frame.read(), turns) for frame in stored.frames(0.0, 9.0)]
        found = [frame.read() for frame in source.frames(0.0, 9.0)]
    assert (film.width, film.height) == ((48, 64) if turned != 180 else (64, 48))
    assert film.pixel_aspect == (Fraction(3, 4) if turned != 180 else Fraction(4, 3))
    np.testing.assert_array_equal(found, expected)
    _, about = Job(tmp_path / "out", metrics="none", segment_seconds=5.0).run(path, path)
    with av.open(about["uri"]) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height, frame.rotation) == (film.width, film.height, 0)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_an_open_group_of_pictures_is_no_damage(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", [*range(40)], options=OPEN)
    plain = write(tmp_path / "plain.mp4", [*range(40)])
    job = Job(tmp_path / "out", metrics="none", segment_seconds=0.8)
    rows = job.fuse(job.cut(path, plain))
    assert len(rows) >= 2
    assert [row["note"] for row in rows] == [None] * len(rows)
    assert sum(row["frames"] for row in rows) == 40
    assert sum(row["a_damaged"] for row in rows) == 0


def test_a_clock_that_begins_anew_is_refused_with_its_time(tmp_path):
    path = write(tmp_path / "a.ts", [*range(50)])
    path.write_bytes(path.read_bytes() * 2)
    with (
        open_source(str(path), 10**6) as source,
        pytest.raises(RecordingError, match=r" 1\.\d+ s") as refused,
    ):
        list(source.frames(0.0, float("inf")))
    assert refused.value.code == "unsupported_recording"


def test_a_frame_that_a_store_does_not_give_is_not_damaged(tmp_path, monkeypatch):
    from pipelines.storage import objects as storage
    from upfusion.images import encode_image

    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(encode_image(visible(number / 25), "png"))
    (tmp_path / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    with open_source(f"{tmp_path}/", 10**6, 25.0) as source:
        assert len(list(source.frames(0.0, 9.0))) == 3
        assert source.counts.damaged == 1
        monkeypatch.setattr(storage, "read_many", lambda uris: [TimeoutError(110, "timed out", uris[0])] * len(uris))
        with pytest.raises(TimeoutError):
            list(source.frames(0.0, 9.0))
        assert source.counts.damaged == 1
