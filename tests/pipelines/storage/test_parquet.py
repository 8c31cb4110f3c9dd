import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage
from pipelines.storage.parquet import list_tables, read_as, read_table, write_table
from tests.fault_proxy import FaultProxy

from .code_in_parquet import hostile_parquet

TABLE = pa.table({"pair_id": ["a", "b"], "en": [1.5, None]})


def test_a_table_is_put_and_read_whole_or_by_columns(place):
    uri = storage.join(place, "rows", "1.parquet")
    write_table(uri, TABLE)
    assert read_table(uri).equals(TABLE)
    assert read_table(uri, ["en"]).equals(TABLE.select(["en"]))


def test_a_table_without_rows_keeps_its_columns(place):
    uri = storage.join(place, "1.parquet")
    write_table(uri, TABLE.slice(0, 0))
    assert read_table(uri).schema == TABLE.schema
    assert read_table(uri).num_rows == 0


def test_only_the_tables_right_in_a_folder_are_listed(place):
    folder = storage.join(place, "rows")
    assert list_tables(folder) == []
    write_table(storage.join(folder, "2.parquet"), TABLE)
    write_table(storage.join(folder, "1.parquet"), TABLE)
    for other in ("rows/deeper/3.parquet", "rows/notes.txt", "rows/4.parquet.bak", "rows2/5.parquet", "6.parquet"):
        storage.write_bytes(storage.join(place, other), b"other")
    assert list_tables(folder) == [storage.join(folder, "1.parquet"), storage.join(folder, "2.parquet")]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no Parquet at all", b"PAR1" + bytes(64) + b"PAR1"])
def test_what_is_no_parquet_is_refused_by_name_with_what_to_do(place, data):
    uri = storage.join(place, "1.parquet")
    storage.write_bytes(uri, data)
    with pytest.raises(UsageError, match=uri) as refused:
        read_table(uri)
    assert str(refused.value).startswith(uri)


def test_a_table_that_is_not_there_is_no_damaged_one(place):
    with pytest.raises(FileNotFoundError):
        read_table(storage.join(place, "nowhere.parquet"))


# Bytes


def test_two_columns_beside_images_cost_neither_the_images_nor_many_requests(bucket: str, proxy: FaultProxy) -> None:
    uri, rows = storage.join(bucket, "pairs", "1.parquet"), 14
    images = [{"bytes": os.urandom(500_000), "path": f"{number}.png"} for number in range(rows)]
    metrics = {f"metric_{number}": [0.5] * rows for number in range(40)}
    table = pa.table({"pair_id": [f"p{n}" for n in range(rows)], "fused": images, **metrics, "status": ["ok"] * rows})
    write_table(uri, table)
    size = len(storage.read_bytes(uri))
    assert size > 7_000_000
    proxy.answers.clear()
    assert read_table(uri, ["pair_id", "status"]).equals(table.select(["pair_id", "status"]))
    asked = [(request, count) for request, count in proxy.answers if request.startswith("GET")]
    assert sum(count for _, count in asked) < 120_000
    assert len(asked) <= 3
    # All of it, or most of it, is one request.
    proxy.answers.clear()
    assert read_table(uri).equals(table)
    assert [count for request, count in proxy.answers if request.startswith("GET")] == [size]


def test_a_manifest_of_many_row_groups_is_read_at_once(bucket: str, proxy: FaultProxy) -> None:
    uri, rows = storage.join(bucket, "manifest.parquet"), 20_000
    ids = pa.array([os.urandom(16).hex() for _ in range(rows)])
    table = pa.table({"pair_id": ids, "a_uri": ids, "other": [0] * rows})
    write_table(uri, table)
    proxy.answers.clear()
    assert read_as(uri, table.select(["pair_id", "a_uri"]).schema).equals(table.select(["pair_id", "a_uri"]))
    assert len(proxy.answers) <= 4


# Code


def test_nothing_in_a_file_is_executed(tmp_path):
    ran, uri = tmp_path / "ran", str(tmp_path / "1.parquet")
    data = hostile_parquet({"pair_id": ["x"], "en": [1.5]}, "pair_id", ran)
    storage.write_bytes(uri, data)
    # The file is what it should be: read as pyarrow and Ray read it, it runs.
    pq.read_table(pa.BufferReader(data)).to_pylist()
    assert ran.is_dir()
    ran.rmdir()
    assert read_table(uri)["en"].to_pylist() == [1.5]
    assert all(isinstance(value, bytes) for value in read_table(uri)["pair_id"].to_pylist())
    with pytest.raises(UsageError, match=uri):
        read_as(uri, pa.schema([("pair_id", pa.string())]))
    assert not ran.exists()


def test_columns_that_a_file_lacks_are_null_and_others_left_out(tmp_path):
    uri = str(tmp_path / "1.parquet")
    write_table(uri, TABLE)
    schema = pa.schema([("en", pa.float64()), ("vif", pa.float64()), ("fused", pa.struct([("bytes", pa.binary())]))])
    assert read_as(uri, schema).to_pylist() == [
        {"en": 1.5, "vif": None, "fused": None},
        {"en": None, "vif": None, "fused": None},
    ]
    assert read_as(uri, schema).schema == schema


def test_a_file_without_a_column_that_is_needed_is_refused_by_name(tmp_path):
    uri = str(tmp_path / "1.parquet")
    write_table(uri, TABLE)
    with pytest.raises(UsageError, match="'status'"):
        read_table(uri, ["pair_id", "status"])
