"""On how many images a metric has no value, and why."""

import pyarrow as pa
import pytest

from pipelines.fuse.counts import undefined_in
from pipelines.measure.summary import (
    Undefined,
    count_undefined,
    group_undefined,
    notes_on_undefined,
    reasons_in_note,
)
from upfusion.metrics import METRICS


def test_reasons_come_back_out_of_a_rows_note():
    reasons = {"vif": "A is flat", "ssim_a": "A is flat", "qp": "no source has a feature"}
    note = "; ".join(["A has alpha, dropped", *notes_on_undefined(reasons), "no partner: x"])
    assert {name: reason for name, reason in reasons_in_note(note).items() if name in METRICS} == reasons
    assert reasons_in_note(None) == {}


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_every_reason_survives_a_note(metric):
    reasons = {metric.name: metric.otherwise_none}
    assert reasons_in_note("; ".join(notes_on_undefined(reasons))) == reasons


def test_reasons_are_counted_and_metrics_that_are_alike_are_grouped():
    undefined = count_undefined([{"vif": "A is flat", "ssim": "A is flat"}, {"vif": "B is flat"}, {"vif": "B is flat"}])
    assert undefined == {"vif": Undefined(3, ("B is flat", "A is flat")), "ssim": Undefined(1, ("A is flat",))}
    alike = count_undefined([{"vif": "A is flat", "ssim": "A is flat"}, {"qy": None}])
    assert [names for names, _ in group_undefined(alike)] == ["vif, ssim", "qy"]
    assert alike["qy"] == Undefined(1, ())


def test_rows_tell_how_many_pairs_lack_a_metric():
    rows = pa.table({"note": ["no vif: A is flat", None, None], "vif": [None, 0.5, None], "en": [1.0, 2.0, 3.0]})
    assert undefined_in(rows, ["vif"]) == {"vif": Undefined(2, ("A is flat",))}
