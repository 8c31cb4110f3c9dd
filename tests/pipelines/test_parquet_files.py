import pyarrow as pa
import pytest

from pipelines import storage
from pipelines.parquet_files import list_tables, read_table, write_table
from pipelines.request import RequestError

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
    with pytest.raises(RequestError, match="was not written by an upfusion job") as refused:
        read_table(uri)
    assert str(refused.value).startswith(uri)
    assert "Move it elsewhere" in str(refused.value)


def test_a_table_that_is_not_there_is_no_damaged_one(place):
    with pytest.raises(FileNotFoundError):
        read_table(storage.join(place, "nowhere.parquet"))
