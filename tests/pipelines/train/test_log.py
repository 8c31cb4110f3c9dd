"""The log of a training run as a file."""

import pyarrow.parquet as pq
import pytest

from pipelines.errors.exceptions import UsageError
from pipelines.train.log import best_of, read_log, write_log

REPORTS = [
    {"step": 20, "epoch": 0.5, "loss": 0.75, "best": None},
    {"step": 40, "epoch": 1.0, "loss": 0.5, "val_qp": 0.25, "best": {"step": 40, "value": 0.25}},
    {"step": 60, "epoch": 1.5, "loss": 0.25},
]


def test_a_log_is_a_table_of_numbers(tmp_path) -> None:
    write_log(f"{tmp_path}/log.parquet", REPORTS)
    table = pq.read_table(tmp_path / "log.parquet")
    assert table.column_names == ["step", "epoch", "loss", "val_qp"]
    assert table["val_qp"].to_pylist() == [None, 0.25, None]


def test_a_log_is_read_up_to_the_step_that_a_run_resumes_from(tmp_path) -> None:
    uri = f"{tmp_path}/log.parquet"
    assert read_log(uri) == []
    write_log(uri, REPORTS)
    told = [{name: value for name, value in report.items() if name != "best"} for report in REPORTS]
    assert read_log(uri) == told
    assert read_log(uri, up_to=40) == told[:2]
    write_log(uri, read_log(uri, up_to=40) + REPORTS[2:])
    assert read_log(uri) == told


def test_a_file_that_is_no_log_is_refused(tmp_path) -> None:
    (tmp_path / "log.parquet").write_text("step,loss")
    with pytest.raises(UsageError, match=r"log\.parquet"):
        read_log(f"{tmp_path}/log.parquet")


def test_the_first_of_the_best_validations_is_the_best() -> None:
    values = (None, 0.2, 0.4, None, 0.4, 0.3)
    log = [{"step": step} | ({"val_vif_balanced": v} if v else {}) for step, v in enumerate(values)]
    assert best_of(log) == {"step": 2, "value": 0.4}
    assert best_of(log[:1]) is None
