import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.errors.exceptions import UsageError
from pipelines.fuse.destination import Destination
from pipelines.fuse.rows import open_rows
from pipelines.fuse.schemas import output_schema
from pipelines.storage import objects as storage
from pipelines.storage.ownership import digest_of

RESULT = {"metrics": ["vif"]}


def test_the_rows_of_two_versions_are_one_dataset(place: str) -> None:
    destination = Destination(f"{place}/out")
    destination.claim({"digest": digest_of(RESULT), "result": RESULT, "config": {}})
    row = {"a_uri": "a", "b_uri": "b", "task": "ct_mri", "status": "ok", "vif": 0.5}
    destination.write_pairs(pa.Table.from_pylist([row | {"pair_id": "new", "alignment": 0.9}], output_schema(("vif",))))
    earlier = pa.Table.from_pylist([row | {"pair_id": "old", "vif": 0.25}])
    sink = pa.BufferOutputStream()
    pq.write_table(earlier, sink)
    storage.write_bytes(f"{place}/out/pairs/old.parquet", sink.getvalue().to_pybytes())

    rows = open_rows(f"{place}/out")

    found = rows.to_table(columns=["pair_id", "vif", "alignment"]).sort_by("pair_id").to_pylist()
    assert found == [
        {"pair_id": "new", "vif": 0.5, "alignment": 0.9},
        {"pair_id": "old", "vif": 0.25, "alignment": None},
    ]
    assert rows.count_rows(filter=pc.field("vif") > 0.3) == 1


def test_a_folder_without_a_job_is_refused(place: str) -> None:
    with pytest.raises(UsageError):
        open_rows(f"{place}/nothing")
