import csv
import io

import pyarrow as pa
import pytest

from pipelines.archive.schema import MANIFEST_SCHEMA
from pipelines.evaluate.config import EvaluateConfig
from pipelines.evaluate.detection.boxes import FoundBoxes
from pipelines.evaluate.detection.detect import DetectorConfig
from pipelines.evaluate.detection.detection import Detection
from pipelines.evaluate.findings import KINDS, Finding, csv_findings, group_findings, list_findings
from pipelines.evaluate.methods import FusedImage, Matched
from pipelines.evaluate.plan import EvaluationPlan
from pipelines.evaluate.rows import FAILED, MISSING, OK, measured_schema
from pipelines.evaluate.sets import EvaluationSet
from pipelines.sources.settings import SourceSettings


def set_of(name: str, *ids: str, unpaired: tuple[str, ...] = ()) -> EvaluationSet:
    rows = [{"pair_id": i, "a_uri": f"/a/{i}", "b_uri": f"/b/{i}", "task": "ir_visible"} for i in ids]
    return EvaluationSet(name, f"/sets/{name}", pa.Table.from_pylist(rows, MANIFEST_SCHEMA), list(unpaired))


def matched(*ids: str, extra: tuple[str, ...] = ()) -> Matched:
    return Matched({pair_id: FusedImage(f"/fused/{pair_id}", "1") for pair_id in ids}, list(extra))


def plan_of(*sets: EvaluationSet, detection: Detection | None = None, **folders: Matched) -> EvaluationPlan:
    config = EvaluateConfig(sets=("in",), out="out")
    by_method = {tuple(name.split("_")): found for name, found in folders.items()}
    return EvaluationPlan(config, list(sets), [], by_method, {}, SourceSettings(config, {}, None), detection)


def rows_of(*rows: tuple[str, str, str, str, str | None, str | None]) -> pa.Table:
    names = ("set", "method", "pair_id", "status", "error", "note")
    common = {"key": "", "task": "ir_visible"}
    return pa.Table.from_pylist([common | dict(zip(names, row, strict=True)) for row in rows], measured_schema(()))


def test_where_nothing_is_odd_nothing_is_found():
    plan = plan_of(set_of("night", "1", "2"), theirs_night=matched("1", "2"))
    assert list_findings(plan, rows_of(("night", "theirs", "1", OK, None, None)), {}) == []


def test_failed_and_odd_rows_are_found_with_their_reasons():
    rows = rows_of(
        ("night", "theirs", "1", FAILED, "1.png is damaged", None),
        ("night", "theirs", "2", OK, None, "grey"),
        ("night", "theirs", "3", MISSING, "theirs has no image of 3", None),
        ("night", "mean", "1", OK, None, None),
    )
    assert list_findings(plan_of(set_of("night", "1", "2", "3")), rows, {}) == [
        Finding("failed", "night", "theirs", "1", "1.png is damaged"),
        Finding("odd", "night", "theirs", "2", "grey"),
    ]


def test_a_row_may_be_odd_and_fail():
    found = list_findings(plan_of(), rows_of(("night", "theirs", "1", FAILED, "out of memory", "odd")), {})
    assert [(one.kind, one.why) for one in found] == [("failed", "out of memory"), ("odd", "odd")]


def test_files_without_partners_are_found():
    plan = plan_of(
        set_of("night", "1", "2", unpaired=("/a/9.png",)), theirs_night=matched("2", extra=("/fused/x.png",))
    )
    assert list_findings(plan, rows_of(), {}) == [
        Finding("missing", "night", "theirs", "1"),
        Finding("extra", "night", "theirs", "/fused/x.png"),
        Finding("unpaired", "night", None, "/a/9.png"),
    ]


def test_a_method_that_has_no_image_of_a_set_is_not_listed_pair_by_pair():
    plan = plan_of(set_of("day", "1"), set_of("night", "2"), theirs_day=matched("1"), theirs_night=matched())
    assert list_findings(plan, rows_of(), {}) == []


def test_boxes_that_were_left_out_are_found_only_where_they_are_used():
    boxes = FoundBoxes({"1": "/boxes/1.xml", "2": "/boxes/2.xml"}, {"/boxes/3.xml": ("day/3", "night/3")})
    detection = Detection(DetectorConfig("fasterrcnn_resnet50_fpn", 1), b"", {"night": boxes})
    plan = plan_of(set_of("night", "1", "2"), detection=detection)
    assert list_findings(plan, rows_of(), {"/boxes/2.xml": "no XML", "/elsewhere.xml": "no XML"}) == [
        Finding("boxes", "night", None, "/boxes/2.xml", "no XML"),
        Finding("boxes", "night", None, "/boxes/3.xml", "could belong to day/3, night/3"),
    ]
    assert list_findings(plan_of(set_of("night", "1", "2")), rows_of(), {"/boxes/2.xml": "no XML"}) == []


def test_the_most_serious_comes_first_and_each_kind_by_set_method_and_name():
    detection = Detection(
        DetectorConfig("fasterrcnn_resnet50_fpn", 1),
        b"",
        {"day": FoundBoxes({}), "night": FoundBoxes({}, {"/boxes/3.xml": ("1", "2")})},
    )
    plan = plan_of(
        set_of("night", "2", "1", "3", unpaired=("/a/9.png",)),
        set_of("day", "1", "2", unpaired=("/a/8.png",)),
        detection=detection,
        theirs_night=matched("3", extra=("/fused/x.png",)),
        others_night=matched("1", "2"),
        theirs_day=matched("1"),
    )
    rows = rows_of(
        ("night", "theirs", "3", OK, None, "odd"),
        ("night", "theirs", "2", FAILED, "x", None),
        ("night", "mean", "1", FAILED, "x", None),
    )
    found = list_findings(plan, rows, {})
    assert [(one.kind, one.set, one.method, one.what) for one in found] == [
        ("failed", "night", "mean", "1"),
        ("failed", "night", "theirs", "2"),
        ("missing", "day", "theirs", "2"),
        ("missing", "night", "others", "3"),
        ("missing", "night", "theirs", "1"),
        ("missing", "night", "theirs", "2"),
        ("extra", "night", "theirs", "/fused/x.png"),
        ("unpaired", "day", None, "/a/8.png"),
        ("unpaired", "night", None, "/a/9.png"),
        ("boxes", "night", None, "/boxes/3.xml"),
        ("odd", "night", "theirs", "3"),
    ]
    assert list(dict.fromkeys(one.kind for one in found)) == list(KINDS)


# As lines


def test_what_is_said_of_many_files_is_said_once():
    found = [Finding("odd", "night", "theirs", str(number), "grey") for number in range(5)]
    found += [Finding("odd", "night", "others", "1", "grey"), Finding("odd", "night", "theirs", "9", "JPEG")]
    found += [Finding("unpaired", "night", None, "/a/9.png"), Finding("failed", "night", "theirs", "7", "grey")]
    groups = group_findings(found)
    assert [(one.kind, one.where, one.why, one.names) for one in groups] == [
        ("odd", "night, theirs", "grey", ["0", "1", "2", "3", "4"]),
        ("odd", "night, others", "grey", ["1"]),
        ("odd", "night, theirs", "JPEG", ["9"]),
        ("unpaired", "night", "", ["/a/9.png"]),
        ("failed", "night, theirs", "grey", ["7"]),
    ]


@pytest.mark.parametrize(
    ("most", "line"),
    [
        (2, "night, theirs: grey (5: 0, 1 and 3 more)"),
        (4, "night, theirs: grey (5: 0, 1, 2, 3 and 1 more)"),
        (5, "night, theirs: grey (5: 0, 1, 2, 3, 4)"),
        (9, "night, theirs: grey (5: 0, 1, 2, 3, 4)"),
    ],
)
def test_a_line_names_some_and_says_how_many_more(most, line):
    (group,) = group_findings([Finding("odd", "night", "theirs", str(number), "grey") for number in range(5)])
    assert group.line(most) == line


def test_a_line_without_a_reason_has_none():
    (group,) = group_findings([Finding("unpaired", "night", None, "/a/9.png")])
    assert group.line(3) == "night (1: /a/9.png)"


def test_every_finding_is_a_line_of_csv():
    found = [
        Finding("failed", 'n"ight', "a,b", "1\n2", "two\r\nlines, ünï"),
        Finding("unpaired", "night", None, "/a/9.png"),
    ]
    text = csv_findings(found)
    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["kind", "set", "method", "what", "why"],
        ["failed", 'n"ight', "a,b", "1\n2", "two\r\nlines, ünï"],
        ["unpaired", "night", "", "/a/9.png", ""],
    ]
