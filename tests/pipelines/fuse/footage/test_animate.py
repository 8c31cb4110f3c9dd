import numpy as np
from PIL import Image

from pipelines.demo.street import draw_moment, draw_pair
from pipelines.demo.street.video import write_videos
from pipelines.fuse.footage.animate import animate
from tests.recordings import heat, visible, write_pair, write_recording


def test_recordings_move_side_by_side(tmp_path):
    a, b = write_pair(tmp_path, seconds=1.0, rate=5)
    f = write_recording(tmp_path / "f.mkv", (visible(1 + n / 5) for n in range(5)), codec="ffv1", rate=5)
    animate((str(a), str(b), str(f)), tmp_path / "x.webp", side=32)
    with Image.open(tmp_path / "x.webp") as shown:
        assert (shown.size, shown.n_frames) == ((96, 24), 5)
        shown.seek(2)
        middle = np.asarray(shown.convert("RGB"))[:, 32:64].astype(float).mean(axis=2)
    expected = np.asarray(Image.fromarray(heat(2 / 5)).resize((32, 24), Image.Resampling.LANCZOS))
    assert np.abs(middle - expected).mean() < 12


def test_a_street_moves_and_stays_the_same_street():
    now, again, later = (draw_moment(3, seconds, 64, 48) for seconds in (0.0, 0.0, 1.0))
    for one, same, other in zip(now, again, later, strict=True):
        np.testing.assert_array_equal(one, same)
        changed = np.abs(one.astype(int) - other).reshape(48, 64, -1).max(axis=2) > 40
        assert 0.002 < changed.mean() < 0.5
    assert np.abs(now[0].astype(int) - draw_pair(np.random.default_rng([3, 0]), 64, 48)[0]).mean() < 8


def test_a_street_is_filmed_by_both_sensors(tmp_path):
    write_videos(tmp_path, seconds=0.4, rate=5, width=64, height=48)
    assert sorted(path.parent.name for path in tmp_path.rglob("street.mp4")) == ["infrared", "visible"]
