import pyarrow as pa
import pytest

from pipelines.evaluate.rows import FAILED, MISSING, OK, VALUES, key_of, measured_schema, to_values

METRICS = ("vif", "en")


def row(pair_id: str, method: str, status: str = OK, **columns) -> dict:
    return {"key": "", "set": "s", "pair_id": pair_id, "task": "ct_mri", "method": method, "status": status} | columns


def values_of(*rows: dict, metrics: tuple[str, ...] = METRICS) -> list[dict]:
    table = to_values(pa.Table.from_pylist(rows, measured_schema(metrics)), metrics)
    assert table.schema == VALUES
    return table.to_pylist()


def test_every_pair_method_and_metric_has_one_row():
    found = values_of(row("1", "tiny", vif=0.5, en=7.0, width=60, height=48, fuse_ms=3.0, note="odd", measure_ms=1.0))
    common = {"set": "s", "pair_id": "1", "task": "ct_mri", "method": "tiny", "status": OK, "reason": None}
    common |= {"width": 60, "height": 48, "fuse_ms": 3.0}
    assert found == [common | {"metric": "en", "value": 7.0}, common | {"metric": "vif", "value": 0.5}]


def test_a_metric_without_a_value_has_its_own_reason():
    why = {"why_none": [("vif", "B is flat")]}
    found = {one["metric"]: (one["value"], one["reason"]) for one in values_of(row("1", "tiny", en=7.0, **why))}
    assert found == {"vif": (None, "B is flat"), "en": (7.0, None)}


@pytest.mark.parametrize("status", [FAILED, MISSING])
def test_a_fusion_that_failed_or_is_missing_has_no_value_and_says_why_in_every_metric(status):
    failed = row("1", "tiny", status, error_code="x", error="1.png is damaged")
    found = values_of(failed, row("1", "mean", vif=0.5, en=7.0))
    told = {(one["method"], one["metric"]): (one["status"], one["value"], one["reason"]) for one in found}
    assert told == {
        ("mean", "en"): (OK, 7.0, None),
        ("mean", "vif"): (OK, 0.5, None),
        ("tiny", "en"): (status, None, "1.png is damaged"),
        ("tiny", "vif"): (status, None, "1.png is damaged"),
    }


def test_values_are_in_order_of_set_pair_method_and_metric():
    rows = [row(pair, method, vif=0.0, en=0.0) | {"set": name} for name in "ba" for pair in "21" for method in "nm"]
    order = [tuple(one[column] for column in ("set", "pair_id", "method", "metric")) for one in values_of(*rows)]
    assert len(order) == 16
    assert order == sorted(order)


def test_no_rows_give_no_values():
    assert values_of() == []


def test_a_key_is_decided_by_everything_that_is_given():
    decisive = ["s", "1", ("vif", "en"), 2, None, True]
    key = key_of(*decisive)
    assert key == key_of("s", "1", ("vif", "en"), 2, None, True)
    others = [key_of(*decisive[:place], "other", *decisive[place + 1 :]) for place in range(len(decisive))]
    others += [key_of(*decisive, None), key_of("s1", *decisive[2:]), key_of(*decisive[:2], ("vif",), *decisive[3:])]
    assert len({key, *others}) == len(others) + 1
