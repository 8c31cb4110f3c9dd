"""Detection as a judge of fusion: people that only B shows are found in what fuses it, and not in A."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.errors.exceptions import UsageError
from pipelines.evaluate.config import EvaluateConfig
from pipelines.evaluate.job import evaluate
from pipelines.evaluate.plan import plan_evaluation
from pipelines.storage import objects as storage
from tests.detector import ARCHITECTURE, SIDE, draw_people

pytestmark = pytest.mark.slow

COUNT, UNLABELLED = 7, "scene_6"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nights in which only the infrared shows people, with YOLO's labels for all but one pair."""
    folder = tmp_path_factory.mktemp("nights")
    rng = np.random.default_rng(5)
    for side in ("visible", "infrared", "labels"):
        (folder / side).mkdir()
    for number in range(COUNT):
        infrared, people = draw_people(rng)
        visible = rng.normal(30, 8, infrared.shape).clip(0, 255).astype(np.uint8)
        Image.fromarray(visible).save(folder / "visible" / f"scene_{number}.png")
        Image.fromarray(infrared).save(folder / "infrared" / f"scene_{number}.png")
        lines = [f"0 {(x1 + x2) / 2} {(y1 + y2) / 2} {x2 - x1} {y2 - y1}" for x1, y1, x2, y2 in people.boxes / SIDE]
        (folder / "labels" / f"scene_{number}.txt").write_text("\n".join(lines))
    (folder / "labels" / f"{UNLABELLED}.txt").unlink()
    return folder


def config(archive: Path, out: Path, **settings: object) -> EvaluateConfig:
    told = {
        "sets": (f"nights={archive}",),
        "methods": ("max",),
        "out": str(out),
        "metrics": ("en",),
        "no_pictures": True,
    }
    return EvaluateConfig.model_validate(told | {"detector": ARCHITECTURE, "no_tracking": True} | settings)


@pytest.mark.usefixtures("ray_here")
@pytest.mark.extended
def test_people_of_b_are_found_in_a_fusion_and_not_in_a(archive: Path, trained_detector: Path, tmp_path: Path) -> None:
    evaluation = evaluate(plan_evaluation(config(archive, tmp_path, detect=str(trained_detector))))
    found = {one.method: one.precision for one in evaluation.detected}
    assert set(found) == {"max", "a", "b"}
    for precision in found.values():
        assert precision.images == COUNT - 1
        assert precision.people >= COUNT - 1
    assert (found["a"].ap50 or 0) < 0.1
    assert (found["b"].ap50 or 0) > 0.5
    assert (found["max"].ap50 or 0) > 0.5
    page = storage.read_bytes(evaluation.folder.page).decode()
    assert "## Pedestrian detection" in page
    assert f"| nights | b | {found['b'].ap50:.3f}" in page.replace("*", "")
    again = evaluate(plan_evaluation(config(archive, tmp_path, detect=str(trained_detector))))
    assert again.measured_now == 0
    assert again.detected == evaluation.detected


def test_a_detector_that_cannot_be_used_is_refused_before_anything_starts(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"--detect.*weights\.pth"):
        plan_evaluation(config(archive, tmp_path / "out", detect=str(tmp_path / "weights.pth")))
    with pytest.raises(UsageError, match=r"--detect .*nowhere"):
        plan_evaluation(config(archive, tmp_path / "out", detect=str(tmp_path / "nowhere.pth")))
    assert not (tmp_path / "out").exists()
