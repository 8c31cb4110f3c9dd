import numpy as np
import pyarrow as pa
import pytest

from pipelines.fuse.destination import Destination, aggregate
from pipelines.fuse.schemas import output_schema

METRICS = ("vif", "en")


def write(destination: Destination, **rows: tuple[str, float | None, float | None]) -> None:
    table = [
        {"pair_id": name, "a_uri": "a", "b_uri": "b", "task": "ct_mri", "status": status, "vif": vif, "en": en}
        for name, (status, vif, en) in rows.items()
    ]
    destination.write_pairs(pa.Table.from_pylist(table, output_schema(METRICS)))


@pytest.fixture
def destination(place) -> Destination:
    return Destination(f"{place}/out")


def test_metrics_are_summed_up_over_the_fused_pairs_of_all_files(destination):
    write(destination, a=("ok", 1.0, 5.0), b=("ok", 2.0, None), c=("failed", 100.0, 100.0), d=("failed", None, None))
    write(destination, e=("ok", 4.0, 7.0))
    found = aggregate(destination, METRICS)
    p5, p50, p95 = np.percentile([1, 2, 4], [5, 50, 95])
    assert found["vif"] == pytest.approx({"mean": 7 / 3, "p5": p5, "p50": p50, "p95": p95})
    assert found["en"] == pytest.approx({"mean": 6.0, "p5": 5.1, "p50": 6.0, "p95": 6.9})
    assert list(found) == ["vif", "en"]
    assert all(type(value) is float for values in found.values() for value in values.values())


def test_a_metric_without_a_value_is_left_out(tmp_path):
    destination = Destination(str(tmp_path))
    write(destination, a=("ok", 0.5, None), b=("failed", None, 3.0))
    assert list(aggregate(destination, METRICS)) == ["vif"]
    assert aggregate(destination, ("en",)) == {}
    assert aggregate(destination, ()) == {}
