"""The page of a training run, from what lies in its folder."""

import base64
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipelines.archive.splits import TRAIN, VAL
from pipelines.storage.ownership import run_file
from pipelines.storage.parquet import write_table
from pipelines.train.curves import PLOT_HEIGHT, PLOT_WIDTH, POINTS, curves_of
from pipelines.train.data import CHECKED
from pipelines.train.folder import RunFolder
from pipelines.train.log import write_log
from pipelines.train.report import write_report


def entry(step: int, **others: float) -> dict[str, float]:
    return {"step": step, "epoch": step / 10, "loss": 1 / step, "learning_rate": 1e-4, "workers": 1, **others}


def curve(groups: list, name: str) -> dict:
    (found,) = (one for _, curves in groups for one in curves if one["name"] == name)
    return found


def write_pairs(folder: RunFolder, pairs: list[tuple[str, str]]) -> None:
    """Write the list of usable pairs, each with its split."""
    same = {"a_uri": "a.png", "b_uri": "b.png", "task": "ir_visible", "root": "set"}
    rows = [same | {"pair_id": name, "split": split} for name, split in pairs]
    write_table(folder.data, pa.Table.from_pylist(rows, CHECKED))


def places(one: dict) -> np.ndarray:
    return np.array([point.split() for point in one["path"][1:].split("L")], float)


def test_curves_are_grouped_and_fill_their_plots():
    log = [entry(step) for step in (10, 20, 30)]
    log[1] |= {"val_vif_balanced": 0.4, "val_vif": 0.5, "validation_seconds": 2.0}
    log[2] |= {"val_vif_balanced": 0.3, "val_vif": 0.6, "validation_seconds": 2.0}
    groups = curves_of(log, best_step=20)
    assert [[one["name"] for one in curves] for _, curves in groups] == [
        ["vif_balanced", "vif"],
        ["loss"],
        ["learning_rate"],
    ]
    loss = curve(groups, "loss")
    expected = [(0, 0), (PLOT_WIDTH / 2, PLOT_HEIGHT * 0.75), (PLOT_WIDTH, PLOT_HEIGHT)]
    np.testing.assert_allclose(places(loss), expected, atol=0.06)
    assert (loss["value"], loss["low"], loss["high"]) == (1 / 30, 1 / 30, 0.1)
    best = curve(groups, "vif_balanced")
    assert best["best"] == pytest.approx((PLOT_WIDTH / 2, 0))
    assert curve(groups, "vif")["best"] is None
    assert len(best["dots"]) == 2


def test_a_loss_that_falls_far_is_drawn_logarithmically():
    steep = curve(curves_of([entry(step) for step in (1, 10, 100)], None), "loss")
    assert steep["logarithmic"]
    np.testing.assert_allclose(places(steep)[:, 1], [0, PLOT_HEIGHT / 2, PLOT_HEIGHT], atol=0.06)


def test_long_runs_are_averaged_and_single_and_equal_values_are_drawn():
    long = curve(curves_of([entry(step + 1, noise=(-1.0) ** step) for step in range(4 * POINTS)], None), "noise")
    assert len(places(long)) == POINTS
    assert (long["low"], long["high"]) == (0, 0)
    one = curve(curves_of([entry(7)], None), "loss")
    assert one["dots"] == [(0, PLOT_HEIGHT / 2)]


def test_the_page_shows_curves_pictures_and_what_was_trained(tmp_path):
    folder = RunFolder(str(tmp_path / "run"))
    write_pairs(folder, [(f"set/{n}", TRAIN) for n in range(3)] + [(f"set/v{n}", VAL) for n in range(2)])
    config = {"preset": "tiny", "note": "</script><b>x</b>"}
    Path(run_file(folder.uri)).write_text(json.dumps({"config": config, "model": {"name": "tiny"}, "versions": {}}))
    write_log(folder.log, [entry(10), entry(20, val_vif_balanced=0.25)])
    for step in (10, 20):
        pictures = tmp_path / "run" / "checkpoints" / f"step_{step:07d}" / "triptychs"
        pictures.mkdir(parents=True)
        for number in (1, 2):
            Image.new("RGB", (3 * 40, 30), (step * 10, 0, number * 90)).save(pictures / f"{number}.png")
    html = Path(write_report(folder, steps=40)).read_text(encoding="utf-8")
    shown = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"[^>]*alt="([^"]+)"', html)
    assert [alt for _, alt in shown] == [f"Source A, fused, and source B of set/v{n}" for n in range(2)]
    with Image.open(io.BytesIO(base64.b64decode(shown[1][0]))) as picture:
        assert math.dist(picture.getpixel((60, 15)), (200, 0, 180)) < 8
    assert "step 20" in html
    assert "0.2500" in html
    assert "set (3 pairs)" in html
    assert "<b>x</b>" not in html
    assert len(re.findall(r'class="line curve"', html)) == 3
    assert "http" not in re.sub(r"http-equiv", "", html)


def test_a_run_that_has_no_validation_pairs_says_so(tmp_path):
    folder = RunFolder(str(tmp_path / "run"))
    write_pairs(folder, [("s/0", TRAIN)])
    Path(run_file(folder.uri)).write_text(json.dumps({"config": {}, "model": {}}))
    html = Path(write_report(folder, steps=1)).read_text(encoding="utf-8")
    assert "--val-share" in html
    assert "<img" not in html
