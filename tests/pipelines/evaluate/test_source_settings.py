"""All methods are judged on the same A and B, and these are what the fuse job fused whose images are among them."""

from pathlib import Path

import pytest

from pipelines.cluster.inline import InlineRunner
from pipelines.errors.exceptions import UsageError
from pipelines.evaluate.config import EvaluateConfig
from pipelines.evaluate.detection.detection import _read_people
from pipelines.evaluate.folder import EvaluationFolder
from pipelines.evaluate.job import evaluate
from pipelines.evaluate.plan import EvaluationPlan, plan_evaluation
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination
from pipelines.fuse.plan import plan_fuse
from pipelines.storage.parquet import read_table
from tests.pipelines.thermal import write_rig, write_thermal
from tests.stages import run_stages
from tests.upfusion.registration.scenes import SIZE

METRICS = ("ssim", "en")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unregistered thermal archive `in`, fused by its rig into `job`."""
    folder = tmp_path_factory.mktemp("thermal")
    source, rig = write_thermal(folder / "in", 2), write_rig(folder / "rig.json")
    settings = {"model": "nano", "metrics": METRICS, "images": "files", "polarity_b": "black-hot", "no_tracking": True}
    run_stages(plan_fuse(FuseConfig(source=str(source), out=str(folder / "job"), rig=rig, **settings)))
    return folder


def plan_of(archive: Path, out: Path, *methods: str, **settings: object) -> EvaluationPlan:
    told = {"sets": (f"thermal={archive / 'in'}",), "out": str(out), "metrics": METRICS, "no_pictures": True}
    return plan_evaluation(EvaluateConfig(**told | {"methods": methods, "no_tracking": True} | settings))


def test_a_job_and_the_same_network_have_the_same_values(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.evaluate.job.Cluster", lambda **_: InlineRunner())
    monkeypatch.setattr("pipelines.cluster.inline._is_connected", lambda: False)
    methods = (f"job={archive / 'job'}", "nano", "mean")
    done = evaluate(plan_of(archive, tmp_path / "out", *methods, no_pictures=False, sheet_pairs=1))
    assert done.failed == 0
    rows = {(row["method"], row["pair_id"]): row for row in done.rows.to_pylist()}
    of_job = [row for uri in Destination(str(archive / "job")).pair_files() for row in read_table(uri).to_pylist()]
    for row in of_job:
        for method in ("job", "nano"):
            found = rows[method, row["pair_id"]]
            assert (found["width"], found["height"]) == (row["width"], row["height"])
            assert {name: found[name] for name in METRICS} == {name: row[name] for name in METRICS}
    page = Path(done.folder.page).read_text()
    assert "black-hot" in page
    assert "sheet_thermal" in page
    again = evaluate(plan_of(archive, tmp_path / "out", *methods))
    assert again.measured_now == 0


def test_options_that_contradict_a_job_are_refused(archive: Path, tmp_path: Path) -> None:
    job = f"job={archive / 'job'}"
    with pytest.raises(UsageError, match=r"job was fused .*polarity_b: 'white-hot' here, 'black-hot' there"):
        plan_of(archive, tmp_path / "out", job, rig=str(archive / "rig.json"))
    with pytest.raises(UsageError, match=r"rig: None here"):
        plan_of(archive, tmp_path / "out", job, polarity_b="black-hot")
    same = plan_of(archive, tmp_path / "out", job, polarity_b="black-hot", rig=str(archive / "rig.json"))
    assert same.sources.changed == plan_of(archive, tmp_path / "out", job).sources.changed
    assert same.run["result"]["sources"] == same.sources.changed


def test_ranges_stay_as_a_set_grows_and_are_sampled_anew_for_another_option(tmp_path: Path) -> None:
    write_thermal(tmp_path / "in")
    first = plan_of(tmp_path, tmp_path / "out", "mean")
    EvaluationFolder(first.config.out).claim(first.run)
    write_thermal(tmp_path / "in", 1, first=5, warmer=4000)
    grown = plan_of(tmp_path, tmp_path / "out", "mean")
    assert grown.sources.ranges == first.sources.ranges
    assert list(first.sources.ranges["b"]) == ["thermal/uint16"]
    assert plan_of(tmp_path, tmp_path / "new", "mean").sources.ranges != first.sources.ranges
    other = plan_of(tmp_path, tmp_path / "out", "mean", range_b="percent:1:99")
    assert other.sources.ranges["b"] != first.sources.ranges["b"]


def test_every_set_has_a_range_of_its_own_and_stays_measured_as_others_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.evaluate.job.Cluster", lambda **_: InlineRunner())
    monkeypatch.setattr("pipelines.cluster.inline._is_connected", lambda: False)
    sets = [f"one={write_thermal(tmp_path / 'one')}", f"other={write_thermal(tmp_path / 'other', warmer=9000)}"]
    both = {name.partition("=")[0]: name for name in sets}
    alone = evaluate(plan_of(tmp_path, tmp_path / "out", "nano", "mean", sets=(both["one"],), metrics=("en",)))
    done = evaluate(plan_of(tmp_path, tmp_path / "out", "nano", "mean", sets=tuple(sets), metrics=("en",)))
    assert (alone.measured_now, done.measured_now) == (2, 2)
    ranges = done.plan.sources.ranges["b"]
    assert set(ranges) == {"one/uint16", "other/uint16"}
    low, high = (float(str(ranges[f"{name}/uint16"]).partition(":")[0]) for name in both)
    assert high - low == pytest.approx(9000, abs=1)
    # The same scene, 9000 counts apart, is the same picture to the network and to a baseline.
    entropies = {(row["method"], row["set"]): row["en"] for row in done.rows.to_pylist()}
    for method in ("nano", "mean"):
        assert entropies[method, "one"] == pytest.approx(entropies[method, "other"], abs=0.02)
    assert "values_b of other" in Path(done.folder.page).read_text()


def test_boxes_move_along_with_a(archive: Path, tmp_path: Path) -> None:
    plan = plan_of(archive, tmp_path / "out", f"job={archive / 'job'}")
    warp = plan.sources.preparation.canvas("000")
    assert warp is not None
    left, top, width, height = warp.box
    assert left > 0
    x, y = (left + 40) / SIZE[0], (top + 30) / SIZE[1]
    (tmp_path / "000.txt").write_text(f"0 {x} {y} {20 / SIZE[0]} {10 / SIZE[1]}\n0 0.005 0.5 0.01 0.02\n")
    rows = plan.sets[0].pairs.select(["pair_id"]).append_column("set", [["thermal"] * 2])
    rows = rows.append_column("width", [[width] * 2]).append_column("height", [[height] * 2])
    people, unusable = _read_people({"000": str(tmp_path / "000.txt")}, rows, "thermal", plan.sources.preparation)
    assert unusable == {}
    assert people["000"].boxes.round(6).tolist() == [[30, 25, 50, 35]]  # the other one is outside
