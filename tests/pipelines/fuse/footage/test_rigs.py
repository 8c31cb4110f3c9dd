"""Recordings of two cameras that are not registered."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.archive.schema import MANIFEST_SCHEMA
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.footage import rig_frames
from pipelines.fuse.footage.frames import open_source
from pipelines.fuse.footage.rig_frames import sample_pairs
from pipelines.fuse.footage.segment_actor import SegmentActor
from pipelines.rigs.estimate import estimate_rig_of
from pipelines.rigs.load import by_camera
from pipelines.rigs.register import Register
from tests.pipelines.fuse.footage.job import TEXTS, TINY, Job
from tests.recordings import write_recording
from tests.upfusion.registration.scenes import SIZE, planted, scene, seen_through
from upfusion.registration.coordinates import distance
from upfusion.registration.rig import Rig
from upfusion.registration.rig_set import RigSet
from upfusion.registration.warp import RigWarp

TRUTH = planted()


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("films")
    a, b = scene(0)
    moved = seen_through(TRUTH, b)
    colour = np.stack([a, a, a], axis=-1)
    one = write_recording(folder / "a.mp4", [colour] * 8, options={"crf": "4"})
    other = write_recording(folder / "b.mp4", [moved] * 8, options={"crf": "4"})
    return one, other


def read(uri: object) -> list[np.ndarray]:
    with open_source(str(uri), 10**8) as source:
        return [frame.read() for frame in source.frames(0, float("inf"))]


def job(out: Path, register: Register, **settings: object) -> Job:
    made = Job(out, metrics="none", segment_seconds=10, **settings)
    made.actor = SegmentActor(made.config, "tiny", register=register, method=TINY, texts=TEXTS, threads=1, on_gpu=False)
    return made


def test_b_is_warped_frame_by_frame(films: tuple[Path, Path], tmp_path: Path) -> None:
    rig = Rig(SIZE, SIZE, TRUTH)
    warp = RigWarp(rig)
    (row,), about = job(tmp_path / "out", Register(RigSet.single(rig).to_json())).run(*films)
    assert (row["status"], row["width"], row["height"]) == ("ok", warp.width, warp.height)
    assert row["rig"] == rig.digest()
    assert row["alignment"] > 0.9
    frames = read(about["uri"])
    assert len(frames) == 8
    assert frames[0].shape[:2] == (warp.height, warp.width)
    assert row["flicker"] < 0.01


def test_without_a_rig_it_is_noted_or_fails(films: tuple[Path, Path], tmp_path: Path) -> None:
    (row,), _ = job(tmp_path / "noted", Register()).run(*films)
    assert row["alignment"] < 0.45
    assert re.match(r"A and B .* \d+ px\b", row["note"])
    failing = job(tmp_path / "failed", Register(misaligned="fail"))
    (row,) = failing.fuse(failing.cut(*films))
    assert row["error_code"] == "not_registered"


def test_a_rig_is_estimated_from_frames_spread_over_time(films: tuple[Path, Path], tmp_path: Path) -> None:
    pair = {"pair_id": "cam", "a_uri": str(films[0]), "b_uri": str(films[1]), "task": "ir_visible", "prompt": None}
    config = FuseConfig(source="in", out=str(tmp_path))
    sampled = sample_pairs(pa.Table.from_pylist([pair], MANIFEST_SCHEMA), config, 2)
    assert [one.pair_id for one in sampled] == ["cam at 0.1 s", "cam at 0.2 s"]
    rig = estimate_rig_of(sampled)
    assert distance(TRUTH, rig.matrix, SIZE, SIZE) < 0.3


@pytest.mark.parametrize(("offset", "opened"), [("0", 16), ("auto", 4)])
def test_few_recordings_of_many_are_opened_spread_over_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: str, opened: int
) -> None:
    rows = [
        {"pair_id": f"cam{n:03d}", "a_uri": f"/in/a/{n:03d}.mp4", "b_uri": f"/in/b/{n:03d}.mp4", "task": "ir_visible"}
        for n in range(1000)
    ]
    seen: list[tuple[str, int]] = []
    monkeypatch.setattr(rig_frames, "_frames_of", lambda row, _, count: seen.append((row["pair_id"], count)) or [])
    table = pa.Table.from_pylist(rows, MANIFEST_SCHEMA)
    (chosen,) = by_camera(table, 32).values()
    assert chosen.num_rows == 32
    sample_pairs(chosen, FuseConfig(source="in", out=str(tmp_path), offset=offset), 32)
    assert [count for _, count in seen] == [32 // opened] * opened
    assert (seen[0][0], seen[-1][0] > "cam700") == ("cam000", True)
