import csv
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from pipelines.evaluate_config import EvaluateConfig
from pipelines.evaluation.findings import KINDS, csv_findings, group_findings, list_findings
from pipelines.evaluation.plan import EvaluationPlan, join_manifests, plan_evaluation
from pipelines.evaluation.rows import measured_schema
from pipelines.request import RequestError
from tests.archives import REAL_DATA, make_archive, make_pair

SHARED = REAL_DATA.parent


def plan(folder: Path, *methods: str, **settings: object) -> EvaluationPlan:
    told = {"sets": (f"night={folder / 'in'}",), "out": str(folder / "out"), "no_tracking": True}
    return plan_evaluation(EvaluateConfig.model_validate(told | {"methods": methods or ("mean",)} | settings))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_archive(tmp_path / "in", 3)
    (tmp_path / "theirs").mkdir()
    for name in ("street_000", "street_001", "other"):
        (tmp_path / "theirs" / f"{name}.png").write_bytes(b"never opened while planning")
    return tmp_path


def test_planning_writes_nothing_and_the_first_method_is_the_reference(folder):
    planned = plan(folder, "max", f"theirs={folder / 'theirs'}")
    assert (planned.reference, [method.name for method in planned.methods]) == ("max", ["max", "theirs"])
    assert set(planned.matched["theirs", "night"].images) == {"street_000", "street_001"}
    assert [pair["pair_id"] for _, pair in planned.pairs] == ["street_000", "street_001", "street_002"]
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"reference": "tiny"}, "--reference: no method is called 'tiny'; there are: mean"),
        ({"costs": "SAGE=3"}, "--costs: no method is called 'SAGE'"),
    ],
)
def test_options_that_name_no_method_are_refused(folder, settings, reason):
    with pytest.raises(RequestError, match=reason):
        plan(folder, **settings)


def test_a_folder_that_holds_none_of_the_pairs_is_refused_with_where_was_looked(folder):
    make_archive(folder / "day", 1)
    with pytest.raises(RequestError, match=r"no image of theirs belongs to a pair: looked for .*/theirs/night/NAME"):
        plan(folder, f"theirs={folder / 'theirs'}", sets=(f"night={folder / 'in'}", f"day={folder / 'day'}"))


def test_one_id_for_pairs_of_two_sets_is_refused(tmp_path):
    make_pair(tmp_path / "x" / "y", "1")
    make_pair(tmp_path / "z", "1")
    sets = (f"a={tmp_path / 'x'}", f"a/y={tmp_path / 'z'}")
    with pytest.raises(RequestError, match="'a/y/1' means pairs of two sets"):
        plan(tmp_path, sets=sets)


def test_the_manifest_of_all_sets_names_each_pair_under_its_set(folder):
    assert join_manifests(plan(folder).sets)["pair_id"].to_pylist() == [f"night/street_00{n}" for n in range(3)]


def test_findings_name_every_file_once_and_lines_put_alike_ones_together(folder):
    (folder / "in" / "visible" / "alone.png").write_bytes(b"x")
    planned = plan(folder, "mean", f"theirs={folder / 'theirs'}")
    common = {"key": "k", "set": "night", "task": "ir_visible", "method": "theirs"}
    rows = [
        common | {"pair_id": "street_000", "status": "failed", "error_code": "size_mismatch", "error": "too small"},
        common | {"pair_id": "street_001", "status": "ok", "note": "grey, and A is in colour"},
        common | {"pair_id": "street_002", "status": "ok", "note": "grey, and A is in colour"},
    ]
    findings = list_findings(planned, pa.Table.from_pylist(rows, measured_schema(("vif",))), {})
    assert [one.kind for one in findings] == sorted((one.kind for one in findings), key=list(KINDS).index)
    assert {(one.kind, one.what.rsplit("/", 1)[-1]) for one in findings} == {
        ("failed", "street_000"),
        ("missing", "street_002"),
        ("extra", "other.png"),
        ("unpaired", "alone.png"),
        ("odd", "street_001"),
        ("odd", "street_002"),
    }
    odd = next(group for group in group_findings(findings) if group.kind == "odd")
    assert odd.line(1) == "night, theirs: grey, and A is in colour (2: street_001 and 1 more)"
    lines = list(csv.DictReader(csv_findings(findings).splitlines()))
    assert len(lines) == len(findings)
    assert {"kind": "failed", "set": "night", "method": "theirs", "what": "street_000", "why": "too small"} in lines


def test_boxes_that_cannot_be_used_are_named(folder):
    boxes = SimpleNamespace(uris={"street_000": "a.txt", "street_001": "b.txt"}, ambiguous={"c.xml": ("x/1", "y/1")})
    detection = SimpleNamespace(boxes={"night": boxes})
    planned = SimpleNamespace(sets=plan(folder).sets, matched={}, detection=detection)
    findings = list_findings(planned, measured_schema(("vif",)).empty_table(), {"b.txt": "line 1 has 3 fields"})
    assert [(one.what, one.why) for one in findings] == [
        ("b.txt", "line 1 has 3 fields"),
        ("c.xml", "could belong to x/1, y/1"),
    ]


@pytest.mark.skipif(not (SHARED / "peers").is_dir(), reason=f"other methods' images are not here ({SHARED / 'peers'})")
def test_every_image_of_other_methods_finds_its_pair(tmp_path):
    listed = csv.DictReader((SHARED / "peers" / "peers.csv").read_text().splitlines())
    counts = {(row["method"], row["set"]): int(row["images"]) for row in listed}
    sets = tuple(f"{name}={REAL_DATA / name}" for name in sorted({name for _, name in counts}))
    methods = tuple(f"{name}={SHARED / 'peers' / name}" for name in sorted({name for name, _ in counts}))
    planned = plan(tmp_path, *methods, sets=sets)
    found = {key: len(matched.images) for key, matched in planned.matched.items() if matched.images}
    assert found == counts
    assert not [uri for matched in planned.matched.values() for uri in matched.extra]
