import io
import re

import pyarrow as pa
import pytest
from rich.console import Console

from jobs.console.train import TrainingLine, print_trained
from pipelines.archive.splits import TRAIN, VAL
from pipelines.train.data import CHECKED, TrainingPairs
from pipelines.train.folder import RunFolder
from pipelines.train.job import TrainOutcome
from tests.values_in_text import numbers_in


def pairs_of(bad: int = 0) -> TrainingPairs:
    rows = [{"pair_id": f"set/{n}", "split": TRAIN, "error_code": None} for n in range(3)]
    rows += [{"pair_id": "set/v", "split": VAL, "error_code": None}]
    rows += [
        {"pair_id": f"set/b{n}", "split": TRAIN, "error_code": "x", "error": f"set/b{n}: is damaged"}
        for n in range(bad)
    ]
    return TrainingPairs(pa.Table.from_pylist(rows, CHECKED))


REPORT = {
    "step": 20,
    "epoch": 1.5,
    "loss": 0.5,
    "intensity": 0.1,
    "gradient": 0.4,
    "samples_per_second": 8.0,
    "crops_a_step": 4,
}


@pytest.fixture
def output():
    return io.StringIO()


@pytest.fixture
def line(output):
    return TrainingLine(Console(file=output, width=60))


def test_a_line_says_where_a_run_is_and_when_it_ends(line, output):
    line.on_pairs(pairs_of(), steps=2420)
    line.on_report(REPORT)
    assert numbers_in(output.getvalue().splitlines()[0]) == ["3", "1", "2,420"]
    # 2400 steps of 4 crops at 8 crops/s.
    expected = "epoch 1.50, step 20 / 2420, loss 0.5000 (intensity 0.1000, gradient 0.4000), 8.0 samples/s, 20 min left"
    assert expected in output.getvalue().splitlines()


def test_a_log_has_a_line_for_every_report(line, output):
    line.on_pairs(pairs_of(), steps=60)
    for step in (20, 40, 60):
        line.on_report(REPORT | {"step": step})
    assert [text.split()[3] for text in output.getvalue().splitlines() if text.startswith("epoch")] == [
        "20",
        "40",
        "60",
    ]


def test_pairs_that_are_left_out_are_named(line, output):
    line.on_pairs(pairs_of(bad=7), steps=10)
    assert re.search(r"^7\b", output.getvalue(), re.MULTILINE)
    assert "set/b4: is damaged" in output.getvalue()
    assert re.search(r"\b2 more", output.getvalue())


def test_validations_stay_and_the_best_is_told(line, output):
    line.on_pairs(pairs_of(), steps=40)
    values = {"val_vif": 0.25, "val_vif_balanced": 0.125, "validation_seconds": 1.0}
    line.on_report(REPORT | values | {"best": {"step": 20, "value": 0.125}})
    line.on_report(REPORT | values | {"step": 40, "best": {"step": 20, "value": 0.125}})
    first, second = [text for text in output.getvalue().splitlines() if text.startswith("validation")]
    assert re.search(r"\b1\.50\b.*\bstep 20\b.*\bvif 0\.250, vif_balanced 0\.125\b.*\bbest\b", first)
    assert re.search(r"\b1\.50\b.*\bstep 40\b.*\bvif 0\.250, vif_balanced 0\.125$", second)


def test_trouble_is_told(line, output):
    line.on_report({"lost": "worker 1: it was killed"})
    line.on_report({"warning": "step 20: no route"})
    assert "worker 1: it was killed" in output.getvalue()
    assert "step 20: no route" in output.getvalue()


def test_the_outcome_says_where_the_model_is_and_how_to_use_it(tmp_path, output):
    folder = RunFolder(str(tmp_path / "run"))
    outcome = TrainOutcome(folder, 40, {"step": 20, "value": 0.125}, pairs_of(), 3.0, "run 7", "models:/upfusion/3")
    print_trained(Console(file=output, width=40), outcome)
    text = output.getvalue()
    assert re.search(r"vif_balanced 0\.1250\b.*\bstep 20\b", text)
    assert "models:/upfusion/3" in text
    assert f"--model {tmp_path}/run/model.safetensors" in text
    assert f"{tmp_path}/run/report.html" in text
