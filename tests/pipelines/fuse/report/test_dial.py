"""One pair at several balances, found in the rows of a job."""

import numpy as np
import pyarrow as pa
import pytest

from pipelines.fuse.report.dial import find_dial
from pipelines.storage.parquet import write_table

PLACES = [("x", 0.0), ("x", 1.0), ("y", 0.5), ("x", -1.0), ("y", 0.0), ("x", None), ("x", 1.0)]
"""Source and balance of each row."""


@pytest.fixture
def job(tmp_path):
    """The narrow columns of some rows, and which file each is from: one of them."""
    ids = [f"pair {number}" for number in range(len(PLACES))]
    uris = [f"/{source}.png" for source, _ in PLACES]
    file = str(tmp_path / "rows.parquet")
    write_table(file, pa.table({"pair_id": ids, "a_uri": uris, "b_uri": uris}))
    rows = pa.table({"pair_id": ids, "balance": pa.array([balance for _, balance in PLACES], pa.float64())})
    return rows, [file] * len(PLACES)


def test_a_pair_at_several_balances_is_shown_in_their_order(job):
    rows, file_of = job
    assert find_dial(rows, np.ones(len(PLACES), bool), file_of) == [3, 0, 1]


def test_rows_that_are_not_to_be_shown_do_not_count(job):
    rows, file_of = job
    shown = np.array([True, True, True, False, True, True, True])
    assert find_dial(rows, shown, file_of) == []


def test_without_several_balances_no_source_is_read():
    rows = pa.table({"pair_id": ["1", "2"], "balance": pa.array([0.0, 1.0])})
    assert find_dial(rows, np.ones(2, bool), ["/nowhere"] * 2) == []
