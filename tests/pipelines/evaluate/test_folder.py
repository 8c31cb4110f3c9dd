import json

import pyarrow as pa
import pytest

from pipelines.errors.exceptions import UsageError
from pipelines.evaluate.folder import EvaluationFolder
from pipelines.evaluate.rows import FAILED, OK, WRITTEN, measured_schema
from pipelines.storage import objects as storage
from pipelines.storage.parquet import list_tables
from pipelines.storage.schema_version import SCHEMA_VERSION

METRICS = ("vif", "en")
RUN = {"digest": "1", "result": {"kind": "evaluation", "methods": {"tiny": "model 1"}}}


@pytest.fixture
def folder(place) -> EvaluationFolder:
    return EvaluationFolder(f"{place}/out/")


def rows_of(metrics: tuple[str, ...] = METRICS, **rows: dict) -> pa.Table:
    common = {"set": "s", "pair_id": "1", "task": "ct_mri", "method": "tiny", "status": OK}
    return pa.Table.from_pylist([common | {"key": key} | row for key, row in rows.items()], measured_schema(metrics))


# Whom the folder belongs to


def test_a_folder_is_claimed_once_and_again_by_evaluations_of_anything(folder):
    other = {"digest": "2", "result": {"kind": "evaluation", "methods": {}}}
    for run in (RUN, RUN, other):
        folder.claim(run)
        assert json.loads(storage.read_bytes(folder.run_json)) == {"schema_version": SCHEMA_VERSION, **run}
    assert storage.list_files(folder.uri) == [storage.join(folder.uri, "run.json")]


ANOTHER, NO_JOB, LATER = (
    "belongs to a different job",
    r"run\.json was not written by an upfusion job",
    "a later version",
)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"digest": "1", "result": {"kind": "fuse"}}', ANOTHER),
        (b'{"digest": "1", "result": {"model": "x"}}', ANOTHER),
        (b'{"digest": "1", "result": {"kind": "evaluation"}, "schema_version": 99}', LATER),
        (b'{"digest": "1"}', NO_JOB),
        (b'{"result": null}', NO_JOB),
        (b"[]", NO_JOB),
        (b"not JSON", NO_JOB),
        (b"", NO_JOB),
    ],
)
def test_the_folder_of_another_job_is_refused_and_left_as_it_is(folder, data, said):
    storage.write_bytes(folder.run_json, data)
    with pytest.raises(UsageError, match=rf"{said}.*--out"):
        folder.claim(RUN)
    assert storage.read_bytes(folder.run_json) == data


# Rows


def test_a_folder_without_rows_has_none(folder):
    rows = folder.read_rows(METRICS)
    assert rows.schema == measured_schema(METRICS)
    assert rows.num_rows == 0
    folder.put_rows(rows_of())
    assert list_tables(folder.rows) == []


def test_rows_are_put_and_read(folder):
    first = rows_of(k2={"vif": 0.5, "en": 7.0, "why_none": [], "detections": [[1.0, 2.0, 3.0, 4.0, 0.5]]})
    second = rows_of(
        k1={"en": 6.0, "why_none": [("vif", "B is flat")]},
        k3={"status": FAILED, "error_code": "empty_file", "error": "empty"},
    )
    told = [folder.put_rows(rows) for rows in (first, second)]
    assert [table.column_names for table in told] == [WRITTEN.names] * 2
    assert told[1].drop(["stopped"]).to_pylist() == [
        {"key": "k1", "error_code": None}, {"key": "k3", "error_code": "empty_file"},
    ]  # fmt: skip
    assert told[1]["stopped"].null_count == 2
    assert folder.read_rows(METRICS).equals(pa.concat_tables([first, second]).sort_by("key"))


@pytest.mark.parametrize("order", [(OK, FAILED), (FAILED, OK), (FAILED, OK, FAILED), (OK, FAILED, OK)])
def test_of_several_rows_of_one_key_an_ok_one_counts(folder, order):
    for place, status in enumerate(order):
        value = {"en": 7.0} if status == OK else {"error_code": "x", "error": "x"}
        # Beside others, because a block that is measured again replaces its own file.
        folder.put_rows(rows_of(same={"status": status} | value, **{f"other{place}": {}}))
    rows = {row["key"]: row for row in folder.read_rows(METRICS).to_pylist()}
    assert len(list_tables(folder.rows)) == len(order)
    assert set(rows) == {"same", *(f"other{place}" for place in range(len(order)))}
    assert (rows["same"]["status"], rows["same"]["en"], rows["same"]["error"]) == (OK, 7.0, None)


def test_a_key_that_only_failed_keeps_its_failure(folder):
    for other in ("x", "y"):
        folder.put_rows(rows_of(same={"status": FAILED, "error_code": "x", "error": "x"}, **{other: {}}))
    rows = folder.read_rows(METRICS).to_pylist()
    assert [(row["key"], row["status"]) for row in rows] == [("same", FAILED), ("x", OK), ("y", OK)]


def test_the_same_rows_in_another_order_replace_their_file(folder):
    rows = rows_of(k1={"en": 1.0}, k2={"en": 2.0})
    folder.put_rows(rows)
    folder.put_rows(rows.take([1, 0]))
    assert len(list_tables(folder.rows)) == 1
    assert folder.read_rows(METRICS)["en"].to_pylist() == [1.0, 2.0]


def test_rows_measured_with_other_metrics_fit(folder):
    folder.put_rows(rows_of(("en",), k1={"en": 1.0}))
    folder.put_rows(rows_of(("vif", "ssim", "en"), k2={"vif": 2.0, "ssim": 3.0, "en": 4.0}))
    rows = folder.read_rows(METRICS)
    assert rows.schema == measured_schema(METRICS)
    assert [(row["key"], row["vif"], row["en"]) for row in rows.to_pylist()] == [("k1", None, 1.0), ("k2", 2.0, 4.0)]


def test_text_that_no_file_can_hold_is_written_all_the_same(folder):
    folder.write_text(folder.page, "é \udcff\n")
    folder.write_json(folder.success, {"sets": "é"})
    assert storage.read_bytes(folder.page).decode() == "é ?\n"
    assert json.loads(storage.read_bytes(folder.success)) == {"sets": "é"}


def test_a_damaged_file_of_rows_is_set_aside_and_what_it_held_is_measured_again(folder):
    folder.put_rows(rows_of(k1={"vif": 1.0}))
    (uri,) = storage.list_files(folder.rows)
    storage.write_bytes(uri.replace(".parquet", "0.parquet"), b"")
    assert folder.read_rows(METRICS)["key"].to_pylist() == ["k1"]
    assert storage.list_files(folder.rows) == [uri]
    (damaged,) = storage.list_files(f"{folder.uri}/damaged")
    assert storage.read_bytes(damaged) == b""
