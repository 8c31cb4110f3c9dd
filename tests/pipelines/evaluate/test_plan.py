import csv
import json
import re
from pathlib import Path

import pytest

from pipelines.errors.exceptions import UsageError
from pipelines.evaluate import plan as planning
from pipelines.evaluate.config import EvaluateConfig
from pipelines.evaluate.detection.detection import Detection
from pipelines.evaluate.plan import EvaluationPlan, join_manifests, plan_evaluation
from tests.archives import REAL_DATA, make_archive, make_pair

PEERS = REAL_DATA.parent / "peers"


@pytest.fixture
def archive(tmp_path) -> Path:
    """Two pairs as a set, and a method's fused images of them."""
    for name in make_archive(tmp_path / "night", 2):
        make_pair(tmp_path / "made", name)
    (tmp_path / "made" / "visible").rename(tmp_path / "theirs")
    return tmp_path


def plan_of(archive: Path, *methods: object, **settings) -> EvaluationPlan:
    told = {"sets": (str(archive / "night"),), "out": str(archive / "out"), "no_tracking": True}
    return plan_evaluation(EvaluateConfig(**told | {"methods": tuple(map(str, methods))} | settings))


def refused(*given: object, **settings) -> str:
    with pytest.raises(UsageError) as caught:
        plan_of(*given, **settings)
    return str(caught.value)


def test_a_plan_finds_sets_methods_and_images_and_writes_nothing(archive):
    plan = plan_of(archive, archive / "theirs", "mean")
    assert [one.name for one in plan.sets] == ["night"]
    assert [(method.name, method.kind) for method in plan.methods] == [("theirs", "images"), ("mean", "baseline")]
    assert plan.reference == "theirs"
    assert list(plan.matched) == [("theirs", "night")]
    assert list(plan.matched["theirs", "night"].images) == plan.sets[0].ids
    assert [(one.name, pair["pair_id"]) for one, pair in plan.pairs] == [
        ("night", "street_000"),
        ("night", "street_001"),
    ]
    assert not (archive / "out").exists()


def test_the_run_is_described_by_what_decides_the_values(archive, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "open-sesame")
    run = plan_of(archive, "mean", "max", metrics="en").run
    result = run["result"]
    assert result["sets"] == {"night": str(archive / "night")}
    assert result["methods"] == {method.name: method.identity for method in plan_of(archive, "mean", "max").methods}
    assert len(set(result["methods"].values())) == 2
    assert (result["kind"], result["metrics"], result["detector"]) == ("evaluation", ["en"], None)
    assert plan_of(archive, "mean", "max", metrics="en", sheet_pairs=1).run["digest"] == run["digest"]
    for settings in ({"metrics": "sd"}, {"precision": "bf16"}, {"sets": (f"day={archive}/night",)}):
        assert plan_of(archive, "mean", "max", **{"metrics": "en"} | settings).run["digest"] != run["digest"]
    secret = plan_of(archive, "mean", tracking_uri="http://host/open-sesame").run
    assert secret["config"]["tracking_uri"] == "http://host/***"
    json.dumps(secret)


# What cannot work


def test_a_reference_that_is_no_method_is_refused_with_the_methods(archive):
    said = refused(archive, "mean", "x=max", reference="max")
    assert re.search(r"--reference.*'max'.*mean, x", said)
    assert plan_of(archive, "mean", "x=max", reference="x").reference == "x"


def test_a_cost_of_no_method_is_refused_with_the_methods(archive):
    said = refused(archive, "mean", "max", costs="mean=1,theirs=2")
    assert re.search(r"--costs.*'theirs'.*mean, max", said)


def test_a_folder_of_which_no_image_belongs_to_a_pair_is_refused_with_where_was_looked(archive):
    (archive / "others").mkdir()
    (archive / "theirs" / "street_000.png").rename(archive / "others" / "else.png")
    said = refused(archive, archive / "theirs", archive / "others")
    assert f"{archive}/others/NAME" in said
    assert "(street_000, ...)" in said


def test_with_several_sets_a_method_needs_a_sub_folder_of_one_of_them(archive):
    make_archive(archive / "day", 1)
    sets = (str(archive / "night"), str(archive / "day"))
    said = refused(archive, archive / "theirs", sets=sets)
    assert f"{archive}/theirs/night/NAME" in said
    (archive / "theirs").rename(archive / "day of theirs")
    (archive / "theirs").mkdir()
    (archive / "day of theirs").rename(archive / "theirs" / "day")
    plan = plan_of(archive, archive / "theirs", sets=sets)
    assert {name: list(found.images) for (_, name), found in plan.matched.items()} == {
        "night": [],
        "day": ["street_000"],
    }


def test_pairs_of_two_sets_have_ids_of_their_own(archive):
    make_archive(archive / "day", 2)
    plan = plan_of(archive, "mean", sets=(str(archive / "night"), str(archive / "day")))
    manifest = join_manifests(plan.sets)
    ids = ["day/street_000", "day/street_001", "night/street_000", "night/street_001"]
    assert manifest["pair_id"].to_pylist() == ids
    assert manifest["a_uri"].to_pylist() == [f"{archive}/{one.replace('/', '/visible/')}.png" for one in ids]


def test_an_id_that_would_mean_pairs_of_two_sets_is_refused(archive):
    make_pair(archive / "all" / "day", "street_000")
    sets = (f"city={archive}/all", f"city/day={archive}/night")
    assert "'city/day/street_000'" in refused(archive, "mean", sets=sets)
    assert len(plan_of(archive, "mean", sets=(sets[0], f"night={archive}/night")).pairs) == 3


def test_a_set_or_a_method_that_is_not_there_is_refused(archive):
    assert refused(archive, "mean", sets=(f"{archive}/nowhere",)).startswith(f"set {archive}/nowhere")
    assert "--methods" in refused(archive, "mean", archive / "nowhere")
    assert "'mean'" in refused(archive, "mean", "mean")


@pytest.mark.skipif(not PEERS.is_dir(), reason=f"other methods' images are not here ({PEERS})")
def test_every_image_of_other_methods_finds_its_pair(tmp_path):
    listed = csv.DictReader((PEERS / "peers.csv").read_text().splitlines())
    counts = {(row["method"], row["set"]): int(row["images"]) for row in listed}
    sets = tuple(f"{name}={REAL_DATA / name}" for name in sorted({name for _, name in counts}))
    methods = tuple(f"{name}={PEERS / name}" for name in sorted({name for name, _ in counts}))
    planned = plan_of(tmp_path, *methods, sets=sets)
    found = {key: len(matched.images) for key, matched in planned.matched.items() if matched.images}
    assert found == counts
    assert not [uri for matched in planned.matched.values() for uri in matched.extra]


# Detection


@pytest.fixture
def detects(monkeypatch) -> None:
    """As if a detector and boxes had been found."""
    monkeypatch.setattr(planning, "plan_detection", lambda config, _: config.detect and Detection(None, b"", {}))
    monkeypatch.setattr(Detection, "identity", "one")


@pytest.mark.usefixtures("detects")
@pytest.mark.parametrize(
    ("given", "names"),
    [
        (("mean",), ["mean", "a", "b"]),
        (("b", "mean"), ["b", "mean", "a"]),
        (("a=max",), ["a", "b"]),
    ],
)
def test_the_sources_are_methods_where_people_are_detected(archive, given, names):
    plan = plan_of(archive, *given, detect="weights.pth")
    assert [method.name for method in plan.methods] == names
    assert plan.reference == names[0]
    assert plan.run["result"]["detector"] == "one"
    assert [method.name for method in plan_of(archive, *given).methods] == names[: len(given)]
    assert plan_of(archive, "mean", detect="weights.pth", reference="b").reference == "b"
