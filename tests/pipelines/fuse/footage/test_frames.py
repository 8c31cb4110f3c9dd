"""Frames out of every kind of recording, from a moment on, and what is wrong with some."""

import numpy as np
import pytest
from PIL import Image

from pipelines.fuse.footage.container import RecordingError
from pipelines.fuse.footage.frames import open_source
from pipelines.storage import objects as storage
from pipelines.storage.retry import retrying_at_most
from tests.recordings import heat, visible, write_recording

FOREVER = float("inf")


def read(path, start=0.0, end=FOREVER, **options):
    with open_source(str(path), 10**8, **options) as source:
        frames = [(frame.seconds, frame.read()) for frame in source.frames(start, end)]
        return [at for at, _ in frames], [pixels for _, pixels in frames], source


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "h264"),
        ("a.mov", "mjpeg"),
        ("a.mkv", "h265"),
        ("b.mkv", "h265-10"),
        ("c.mkv", "ffv1"),
        ("d.mkv", "ffv1-16"),
        ("a.avi", "h264"),  # with frames that are stored before they are shown
        ("b.avi", "mjpeg"),
        ("a.ts", "h264"),
    ],
)
def test_frames_come_with_their_times_from_any_moment_on(tmp_path, name, codec):
    deep = np.uint16 if codec == "ffv1-16" else np.uint8
    images = [(visible(n / 25) if codec != "ffv1-16" else heat(n / 25).astype(deep) * 257) for n in range(40)]
    path = write_recording(tmp_path / name, images, codec=codec)
    times, pixels, source = read(path)
    assert times == pytest.approx([n / 25 for n in range(40)], abs=0.0011)
    assert source.video.rate == pytest.approx(25)
    for shown, image in zip(pixels, images, strict=True):
        if codec.startswith("ffv1"):
            np.testing.assert_array_equal(shown, image)
        else:
            scale = 257 if shown.dtype == np.uint16 else 1
            assert np.abs(shown / scale - image).mean() < 8, "another frame, or other colours"
    assert (pixels[0].dtype == np.uint16) == (codec in ("h265-10", "ffv1-16"))
    for start, end in ((0.52, 0.8), (0.4, 1.2), (1.56, FOREVER)):
        part, some, _ = read(path, start, end)
        first = round(start * 25)
        assert part == times[first : first + len(part)]
        assert len(part) == (40 - first if end == FOREVER else round((end - start) * 25))
        np.testing.assert_array_equal(some[0], pixels[first])


def test_frames_without_a_time_of_their_own_and_drops_stay_what_they_are(tmp_path):
    ticks = [0, 40, 80, 200, 240]
    path = write_recording(tmp_path / "v.mkv", (visible(t / 1000) for t in ticks), rate=1000, ticks=ticks, codec="ffv1")
    assert read(path)[0] == [t / 1000 for t in ticks]


def test_a_damaged_frame_and_those_that_build_on_it_are_left_out(tmp_path):
    path = write_recording(tmp_path / "a.ts", (visible(n / 25) for n in range(60)), options={"bf": "0"})
    whole = read(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    path.write_bytes(data)
    times, pixels, source = read(path)
    assert source.counts.damaged > 0
    assert 30 < len(times) < 60
    for at, shown in zip(times, pixels, strict=True):
        np.testing.assert_array_equal(shown, whole[1][round(at * 25)])


def test_of_a_file_cut_short_the_beginning_is_read(tmp_path):
    path = write_recording(tmp_path / "a.mkv", (visible(n / 25) for n in range(100)), codec="ffv1")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    times, _, _ = read(path)
    assert 20 < len(times) < 80
    assert times == pytest.approx([n / 25 for n in range(len(times))], abs=0.001)


def test_a_folder_of_numbered_frames_is_read_by_number(tmp_path):
    for number in (3, 4, 6, 10):
        Image.fromarray(heat(number / 5)).save(tmp_path / f"frame_{number:03d}_ir.png")
    (tmp_path / "frame_004_ir.png").write_bytes(b"\x89PNG damaged")
    (tmp_path / "readme.txt").write_text("no frame")
    times, pixels, source = read(f"{tmp_path}/", frame_rate=5.0)
    assert times == pytest.approx([0.6, 1.2, 2.0])
    np.testing.assert_array_equal(pixels[1], heat(6 / 5))
    assert source.counts.damaged == 1
    assert read(f"{tmp_path}/", 1.0, 1.5, frame_rate=5.0)[0] == pytest.approx([1.2])
    with pytest.raises(RecordingError, match="--frame-rate"):
        read(f"{tmp_path}/")
    with pytest.raises(RecordingError) as refused:
        read(f"{tmp_path}/none/", frame_rate=5.0)
    assert refused.value.code == "source_missing"


def test_a_frame_that_cannot_be_read_is_not_a_damaged_one(tmp_path, bucket, proxy):
    folder = f"{bucket}/{tmp_path.name}/"
    for number in range(3):
        Image.fromarray(heat(number / 5)).save(tmp_path / "frame.png")
        storage.write_bytes(f"{folder}frame_{number}.png", (tmp_path / "frame.png").read_bytes())
    proxy.choose = lambda request: "slow_down" if "frame_1" in request else None
    with retrying_at_most(0.3), pytest.raises(OSError, match="frame_1"):
        read(folder, frame_rate=5.0)
    proxy.choose = lambda _: None
    storage.delete(f"{folder}frame_1.png")
    with open_source(folder, 10**8, frame_rate=5.0) as source:
        source.files[1] = f"{folder}frame_1.png"  # it goes after it was listed
        with pytest.raises(FileNotFoundError, match="frame_1"):
            list(source.frames(0, FOREVER))
    assert source.counts.damaged == 0


def test_only_what_is_asked_for_is_read_from_a_store(tmp_path, bucket, monkeypatch):
    from pipelines.fuse.footage import container

    noise = np.random.default_rng(0)
    images = (noise.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(150))
    path = write_recording(tmp_path / "a.mkv", images, codec="ffv1", gop=10)
    storage.write_bytes(f"{bucket}/a.mkv", path.read_bytes())
    monkeypatch.setattr(container, "BLOCK", 1 << 16)
    asked = []
    filesystem, _ = storage.open_store(bucket)
    fetch = type(filesystem)._cat_file

    async def spy(self, path, version_id=None, start=None, end=None):
        asked.append((end or 0) - (start or 0))
        return await fetch(self, path, version_id, start, end)

    monkeypatch.setattr(type(filesystem), "_cat_file", spy)
    times, _, _ = read(f"{bucket}/a.mkv", 4.0, 4.2)
    assert times == pytest.approx([4.0, 4.04, 4.08, 4.12, 4.16])
    assert path.stat().st_size > 5_000_000
    assert sum(asked) < path.stat().st_size / 2
