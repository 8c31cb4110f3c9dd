"""Recordings and images in one archive, as users meet them: from and to a store, interrupted, mended, joined."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from pipelines.cluster.runner import Progress
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.footage.frames import open_source
from pipelines.fuse.job import Outcome, fuse
from pipelines.fuse.plan import plan_fuse
from pipelines.fuse.schemas import output_schema
from pipelines.storage import objects as storage
from pipelines.storage.ownership import DifferentSettingsError
from pipelines.storage.parquet import list_tables, read_table
from tests.archives import make_pair, real_set
from tests.object_store import ObjectStore
from tests.pipelines.fuse.footage.job import Job
from tests.recordings import write_pair, write_recording
from upfusion.model import load

SEGMENTS = [f"night/cam/segment_{number:05d}" for number in range(4)]


def config(source: object, out: object, **settings: Any) -> FuseConfig:
    settings = {"metrics": "en", "segment_seconds": 0.35, "metrics_every": 4, "runner": "inline", **settings}
    return FuseConfig(source=str(source), out=str(out), no_tracking=True, **settings)


def rows_of(out: object) -> dict[str, dict[str, Any]]:
    rows = [row for uri in list_tables(storage.join(str(out), "pairs")) for row in read_table(uri).to_pylist()]
    assert len({row["pair_id"] for row in rows}) == len(rows)
    return {row["pair_id"]: row for row in sorted(rows, key=lambda row: row["pair_id"])}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair of images, a pair of recordings of four segments, and one whose B is no recording."""
    folder = tmp_path_factory.mktemp("footage") / "in"
    make_pair(folder, "street")
    write_pair(folder, "night/cam", seconds=1.28, gop=8)
    write_pair(folder, "broken", seconds=0.4)
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_an_archive_of_images_and_recordings(archive: Path, tmp_path: Path, object_store: ObjectStore) -> None:
    audio = (archive / "infrared" / "broken.mp4").read_bytes()
    (archive / "infrared" / "broken.mp4").write_text("<html>404</html>")
    bucket = object_store.new_bucket()
    for path in archive.rglob("*.*"):
        storage.write_bytes(f"{bucket}/in/{path.relative_to(archive)}", path.read_bytes())

    # From a store to a store on Ray, without a pause.
    whole = fuse(plan_fuse(config(f"{bucket}/in", f"{bucket}/out", runner="ray", actors=1)))
    assert (whole.pairs, whole.ok, whole.failed, whole.fused_now) == (6, 5, 1, 6)
    rows = rows_of(f"{bucket}/out")
    assert list(rows) == ["broken", *SEGMENTS, "street"]
    assert (rows["broken"]["status"], rows["broken"]["error_code"]) == ("failed", "not_a_recording")
    assert "infrared/broken.mp4" in rows["broken"]["error"]
    assert rows["street"]["recording"] is None
    assert rows["street"]["fused"]["bytes"]
    for name in SEGMENTS:
        row = rows[name]
        assert (row["status"], row["recording"], row["frames"], row["measured"]) == ("ok", "night/cam", 8, 2)
        assert row["segment_uri"] is None
        assert row["en"] > 0
        frames = read_table(f"{bucket}/out/frames/{name}.parquet")
        assert (frames.num_rows, frames["en"].null_count) == (8, 6)
    assert set(output_schema(("en",)).names) == set(rows["street"])
    about = {one["recording"]: one for one in whole.recordings}
    assert about["night/cam"]["uri"] == f"{bucket}/out/recordings/night/cam.mp4"
    assert (about["night/cam"]["frames"], about["night/cam"]["missing"]) == (32, [])
    assert (about["broken"]["uri"], about["broken"]["missing"][0]["error_code"]) == (None, "not_a_recording")
    with open_source(about["night/cam"]["uri"], 10**8) as joined:
        assert [frame.seconds for frame in joined.frames(0, 9)] == pytest.approx([n / 25 for n in range(32)])
    success = json.loads(storage.read_bytes(f"{bucket}/out/_SUCCESS.json"))
    assert [success[name] for name in ("pairs", "ok", "failed", "recordings", "segments")] == [1, 1, 0, 2, 5]
    assert [success[f"recordings_{name}"] for name in ("ok", "with_gaps", "failed")] == [1, 0, 1]
    assert storage.list_files(f"{bucket}/out/segments") == []
    assert storage.list_files(f"{bucket}/out/previews") == [f"{bucket}/out/previews/night/cam.mp4"]
    assert b"night/cam" in storage.read_bytes(f"{bucket}/out/report.html")

    # Here, in this process, it is interrupted after the first segment, and the same command resumes.
    def interrupt(progress: Progress) -> None:
        if progress.done == 2 and not progress.doing:  # there is one pair of images: these are segments
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fuse(plan_fuse(config(archive, tmp_path / "out")), interrupt)
    before = rows_of(tmp_path / "out")
    assert "street" in before
    assert 3 <= len(before) < 6
    assert not (tmp_path / "out" / "recordings").exists()
    (archive / "infrared" / "broken.mp4").write_bytes(audio)
    rest: Outcome = fuse(plan_fuse(config(archive, tmp_path / "out", retry_failed=True)))
    # `broken` could not be cut, stood in the manifest as one row, and is cut now that it is sound.
    after = rows_of(tmp_path / "out")
    assert list(after) == ["broken/segment_00000", *SEGMENTS, "street"]
    assert (rest.ok, rest.failed, rest.pairs) == (6, 0, 6)
    assert rest.fused_now == 6 - len([row for row in before.values() if row["status"] == "ok"])
    assert all(after[name] == row for name, row in before.items() if row["status"] == "ok")
    joined_here = (tmp_path / "out" / "recordings" / "night" / "cam.mp4").read_bytes()
    assert joined_here == storage.read_bytes(about["night/cam"]["uri"])

    # With nothing missing nothing is done. A recording whose description is gone is fused again: its segments are, too.
    assert not (tmp_path / "out" / "segments").exists()
    assert fuse(plan_fuse(config(archive, tmp_path / "out"))).fused_now == 0
    (tmp_path / "out" / "recordings" / "night" / "cam.json").unlink()
    again = fuse(plan_fuse(config(archive, tmp_path / "out")))
    assert (again.fused_now, again.frames_now, again.counts.of_recordings.recordings_ok) == (4, 32, 2)
    assert (tmp_path / "out" / "recordings" / "night" / "cam.mp4").read_bytes() == joined_here
    with pytest.raises(DifferentSettingsError) as refused:
        fuse(plan_fuse(config(archive, tmp_path / "out", video_codec="ffv1")))
    assert refused.value.differing == {"video_codec": ("h264", "ffv1")}


@pytest.mark.slow
def test_real_frames_joined_to_a_clip_are_fused_as_they_are_as_images(tmp_path: Path) -> None:
    folder = real_set("m3svd") / "test"
    names = sorted(path.name for path in (folder / "visible").glob("0111_1803_*.png"))
    assert len(names) == 3
    a, b = (
        write_recording(
            tmp_path / sensor / "clip.mkv", [_small(folder / sensor / name) for name in names], "ffv1", rate=3
        )
        for sensor in ("visible", "infrared")
    )
    rows, about = Job(tmp_path / "out", video_codec="ffv1").run(a, b)
    assert [row["status"] for row in rows] == ["ok"] * len(rows)
    with open_source(about["uri"], 10**8) as joined:
        fused = [frame.read() for frame in joined.frames(0, 9)]
    with av.open(about["uri"]) as played:
        assert played.streams.video[0].average_rate == 3
    model = load("tiny", "cpu")
    for name, shown in zip(names, fused, strict=True):
        expected = model.fuse(_small(folder / "visible" / name), _small(folder / "infrared" / name))
        np.testing.assert_array_equal(shown, expected)


def _small(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((160, 128)))
