"""A recording of cameras that are not registered, as a user takes it: align, fuse, stopped, resumed, joined.

tests/pipelines/fuse/footage/test_rigs.py warps one segment in every run of the tests. UPFUSION_TEST_SECONDS=600 makes
it ten minutes long.
"""

import json
import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from jobs.command_line import main
from jobs.exit_codes import EXIT_INTERRUPTED
from pipelines.fuse.destination import Destination
from pipelines.storage.parquet import read_table
from tests.recordings import write_recording
from tests.upfusion.registration.scenes import SIZE, planted, scene, seen_through
from upfusion.registration.coordinates import distance
from upfusion.registration.rig import Rig

pytestmark = pytest.mark.extended

RATE, SCENES, SEGMENT = 4, 5, 6
SECONDS = int(os.environ.get("UPFUSION_TEST_SECONDS", "60"))
TRUTH = planted()


def frames_of(side: int, seen: Callable[[np.ndarray], np.ndarray]) -> Iterator[np.ndarray]:
    """Five scenes after each other with three things that move in each, and noise, as one of two cameras sees them."""
    scenes = [scene(seed)[side] for seed in range(SCENES)]
    rng = np.random.default_rng(side)
    for number in range(RATE * SECONDS):
        image, seconds = scenes[number * SCENES // (RATE * SECONDS)].astype(np.float32), number / RATE
        for thing in range(3):
            x, y = int((40 * thing + seconds * (12 + 5 * thing)) % 340) - 20, 50 + 60 * thing
            level = (230, 30, 200)[thing] if side else (40, 220, 120)[thing]
            cv2.rectangle(image, (x, y), (x + 18, y + 30), float(level), -1)
        grey = seen(np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8))
        yield np.repeat(grey[..., None], 3, axis=2)


def invoke(*words: object) -> int:
    return CliRunner().invoke(main, [str(word) for word in words], env={"COLUMNS": "200"}).exit_code


def fuse(source: Path, out: Path, *words: object) -> int:
    settings = ("--model", "nano", "--metrics", "none", "--segment-seconds", SEGMENT, "--runner", "inline")
    return invoke("fuse", source, "--out", out, *settings, "--gpus-per-actor", 0, "--no-tracking", *words)


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [row for uri in Destination(str(out)).pair_files() for row in read_table(uri).to_pylist()]


def test_it_is_fused_by_the_rig_of_its_own_frames_and_flickers_no_more_than_a_registered_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, seen in (("in", lambda b: seen_through(TRUTH, b)), ("registered", lambda b: b)):
        write_recording(tmp_path / folder / "visible" / "cam.mp4", frames_of(0, lambda a: a), rate=RATE, gop=24)
        write_recording(tmp_path / folder / "infrared" / "cam.mp4", frames_of(1, seen), rate=RATE, gop=24)
    source, out, rig = tmp_path / "in", tmp_path / "out", tmp_path / "rig.json"
    assert invoke("align", source, "--out", rig) == 0
    assert distance(TRUTH, Rig.from_json(rig.read_text()).matrix, SIZE, SIZE) < 0.3

    write_pairs, calls = Destination.write_pairs, count(1)

    def stop_at_the_fourth(destination: Destination, rows: Any) -> None:
        if next(calls) == 4:
            raise KeyboardInterrupt
        write_pairs(destination, rows)

    monkeypatch.setattr(Destination, "write_pairs", stop_at_the_fourth)
    assert fuse(source, out, "--rig", rig) == EXIT_INTERRUPTED
    monkeypatch.setattr(Destination, "write_pairs", write_pairs)
    assert len(rows_of(out)) == 3
    assert fuse(source, out, "--rig", rig) == 0

    rows = rows_of(out)
    assert len({row["pair_id"] for row in rows}) == len(rows) == SECONDS // SEGMENT
    assert sum(row["frames"] for row in rows) == RATE * SECONDS
    (file,) = (out / "recordings").glob("*.json")
    about = json.loads(file.read_text())
    assert (about["frames"], about["missing"]) == (RATE * SECONDS, [])
    assert min(row["alignment"] for row in rows) > 0.9
    assert 'id="rig"' in (out / "report.html").read_text()
    assert fuse(tmp_path / "registered", tmp_path / "plain") == 0
    flicker, registered = (np.mean([row["flicker"] for row in rows_of(one)]) for one in (out, tmp_path / "plain"))
    assert flicker < 1.05 * registered
