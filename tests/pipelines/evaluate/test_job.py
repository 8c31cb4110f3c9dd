"""An evaluation as a whole, in this process and on Ray: pairs on disk and in an object store, a real MLflow."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.cluster.inline import InlineRunner
from pipelines.cluster.runner import Progress
from pipelines.errors.exceptions import UsageError
from pipelines.evaluate.config import EvaluateConfig
from pipelines.evaluate.job import evaluate
from pipelines.evaluate.outcome import Evaluation
from pipelines.evaluate.plan import plan_evaluation
from pipelines.measure.config import MeasureConfig
from pipelines.measure.measure import measure_images
from pipelines.storage import objects as storage
from tests.archives import make_archive
from tests.object_store import ObjectStore

pytestmark = pytest.mark.slow

METRICS = ("vif", "vif_balanced", "ssim_balanced", "en")
BASELINES = ("mean", "max", "laplacian", "a")
COUNT = 8


@dataclass(frozen=True)
class Evaluated:
    """One folder, asked three times: stopped in the middle, to the end, and with a method more and a file put again."""

    folder: Path
    stopped_after: int
    first: Evaluation
    second: Evaluation


def config(folder: Path, out: str, methods: tuple[str, ...], **settings: Any) -> EvaluateConfig:
    told = {
        "sets": (f"streets={folder / 'in'}",),
        "metrics": METRICS,
        "sheet_pairs": 2,
        "actors": 1,
        "gpus_per_actor": 0,
    }
    tracking = f"sqlite:///{folder}/mlflow.db"
    return EvaluateConfig(**told | {"out": out, "methods": methods, "tracking_uri": tracking} | settings)


@contextmanager
def in_this_process() -> Iterator[None]:
    """Evaluate without Ray, even if other tests of this process have started it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.evaluate.job.Cluster", lambda **_: InlineRunner())
        patch.setattr("pipelines.cluster.inline._is_connected", lambda: False)
        yield


def write_peer(folder: Path, ids: list[str]) -> None:
    """Images of somebody's method: one pair has none, one file is no pair's, one is too small, one a JPEG inside."""
    (folder / "peer").mkdir()
    for pair_id in ids[1:]:
        visible = Image.open(folder / "in" / "visible" / f"{pair_id}.png").convert("L")
        infrared = Image.open(folder / "in" / "infrared" / f"{pair_id}.png")
        Image.blend(visible, infrared, 0.3).save(folder / "peer" / f"{pair_id}.png")
    Image.new("L", (32, 24), 7).save(folder / "peer" / f"{ids[1]}.png")
    Image.open(folder / "peer" / f"{ids[2]}.png").save(folder / "peer" / f"{ids[2]}.png", "JPEG")
    Image.new("L", (64, 48), 7).save(folder / "peer" / "nobody.png")


@pytest.fixture(scope="module")
def evaluated(
    object_store: ObjectStore,
    tracking_in: Callable[[Path], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Evaluated]:
    folder = tmp_path_factory.mktemp("evaluated")
    tracking_in(folder)
    ids = make_archive(folder / "in", COUNT)
    write_peer(folder, ids)
    out = f"{object_store.new_bucket()}/evaluation"
    done = []

    def stop_after_some(stage: str, progress: Progress) -> None:
        if stage == "measuring" and progress.done:
            done.append(progress.done)
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as environment, in_this_process():
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        methods = (f"peer={folder / 'peer'}", *BASELINES)
        with pytest.raises(KeyboardInterrupt):
            evaluate(plan_evaluation(config(folder, out, methods)), stop_after_some)
        first = evaluate(plan_evaluation(config(folder, out, methods, no_pictures=True)))
        assert not storage.list_files(first.folder.pictures)
        shutil.copy(folder / "peer" / f"{ids[3]}.png", folder / "peer" / f"{ids[4]}.png")
        second = evaluate(plan_evaluation(config(folder, out, ("tiny", *methods))))
    yield Evaluated(folder, done[0], first, second)
    mlflow.set_tracking_uri(None)


def values_of(evaluation: Evaluation, method: str, metric: str) -> dict[str, float]:
    values = evaluation.values
    chosen = values.filter(pc.and_(pc.equal(values["method"], method), pc.equal(values["metric"], metric)))
    return {row["pair_id"]: row["value"] for row in chosen.to_pylist() if row["value"] is not None}


def test_a_stopped_evaluation_resumes_and_a_method_more_measures_only_itself(evaluated: Evaluated) -> None:
    everything = COUNT * len(BASELINES) + COUNT - 1
    assert 0 < everything - evaluated.first.measured_now < everything
    assert evaluated.first.measured_now <= everything - evaluated.stopped_after
    assert evaluated.second.measured_now == COUNT + 1
    quietly = {"no_tracking": True, "no_pictures": True}
    with in_this_process():
        again = evaluate(plan_evaluation(evaluated.second.plan.config.model_copy(update=quietly)))
    assert again.measured_now == 0
    assert again.values.equals(evaluated.second.values)


@pytest.mark.usefixtures("ray_here")
def test_on_ray_the_values_are_the_same(evaluated: Evaluated, tmp_path: Path) -> None:
    methods = (f"peer={evaluated.folder / 'peer'}", "mean")
    on_ray = evaluate(
        plan_evaluation(config(evaluated.folder, str(tmp_path), methods, no_tracking=True, no_pictures=True))
    )
    assert on_ray.measured_now == 2 * COUNT - 1
    for method in ("peer", "mean"):
        for metric in METRICS:
            assert values_of(on_ray, method, metric) == pytest.approx(values_of(evaluated.second, method, metric))


def test_there_is_one_row_for_every_pair_method_and_metric(evaluated: Evaluated) -> None:
    values = pq.read_table(pa_file(evaluated.second.folder.values)).to_pylist()
    keys = {(row["pair_id"], row["method"], row["metric"]) for row in values}
    assert len(values) == len(keys) == COUNT * 6 * len(METRICS)
    reasons = {(row["pair_id"], row["status"]): row["reason"] for row in values if row["method"] == "peer"}
    assert "street_000" in reasons["street_000", "missing"]
    assert "32x24" in reasons["street_001", "failed"]
    assert reasons["street_002", "ok"] is None


def pa_file(uri: str) -> Any:
    filesystem, path = storage.open_store(uri)
    return filesystem.open(path, "rb")


@pytest.mark.parametrize("method", ["tiny", "peer"])
def test_values_are_those_of_upfusion_measure_on_the_same_files(evaluated: Evaluated, method: str) -> None:
    files = {
        pair_id: row["uri"] for (name, _, pair_id), row in evaluated.second.fusions.files.items() if name == method
    }
    found = {metric: values_of(evaluated.second, method, metric) for metric in METRICS}
    assert set(found["vif"]) >= set(files) - {"street_001"}
    for pair_id in ("street_003", "street_006"):
        sides = [str(evaluated.folder / "in" / side / f"{pair_id}.png") for side in ("visible", "infrared")]
        told = MeasureConfig(a=sides[0], b=sides[1], fused=files[pair_id], metrics=METRICS)
        assert measure_images(told).measured[0].values == {metric: found[metric][pair_id] for metric in METRICS}


def test_a_file_that_was_put_again_is_measured_again(evaluated: Evaluated) -> None:
    old, new = (values_of(evaluation, "peer", "en") for evaluation in (evaluated.first, evaluated.second))
    assert {pair_id for pair_id in old if old[pair_id] != new[pair_id]} == {"street_004"}


def test_tables_pictures_and_findings_lie_in_the_folder(evaluated: Evaluated) -> None:
    folder = evaluated.second.folder
    page = storage.read_bytes(folder.page).decode()
    assert re.search(rf"## streets \(ir_visible\)\D*{COUNT}\D+{COUNT}\b", page)
    assert f"{COUNT - 2} of {COUNT} pairs" in page
    assert "nobody.png" in page
    findings = storage.read_bytes(folder.findings).decode()
    for name in ("street_000", "street_001", "street_002", "nobody.png"):
        assert name in findings
    assert storage.read_bytes(folder.csv).decode().startswith('"set","task"')
    assert "\\begin{tabular}" in storage.read_bytes(folder.latex).decode()
    names = {uri.rsplit("/", 1)[-1] for uri in storage.list_files(folder.pictures)}
    expected = {f"distribution_{metric}" for metric in METRICS} | {"sheet_streets"}
    expected |= {f"{kind}_{metric}" for kind in ("cost", "differences") for metric in METRICS[1:3]}
    assert names == {f"{name}.{suffix}" for name in expected for suffix in ("png", "svg")}
    assert json.loads(storage.read_bytes(folder.success))["failed"] == 1


def test_mlflow_has_a_run_with_a_child_for_every_method(evaluated: Evaluated) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{evaluated.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("upfusion")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    parent = next(run for run in parents if run.data.metrics["methods"] == 6)
    assert parent.info.status == "FINISHED"
    artifacts = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert artifacts >= {"results.md", "tables.csv", "tables.tex", "run.json", "pictures"}
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {run.info.run_name for run in children} == {"tiny", "peer", *BASELINES}
    tiny = next(run for run in children if run.info.run_name == "tiny")
    mean = np.mean(list(values_of(evaluated.second, "tiny", "vif").values()))
    assert tiny.data.metrics["streets/vif"] == pytest.approx(mean)


def test_the_folder_of_another_job_is_refused(evaluated: Evaluated, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"digest": "1", "result": {}}')
    with pytest.raises(UsageError, match="--out"):
        evaluate(plan_evaluation(config(evaluated.folder, str(tmp_path), ("mean",), no_tracking=True)))


def test_the_network_of_others_is_evaluated_like_the_rule_it_computes(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from tests.onnx_files import make_onnx

    make_archive(tmp_path / "in", 2)
    (tmp_path / "theirs.onnx").write_bytes(make_onnx("Max"))
    methods = (f"onnx:{tmp_path / 'theirs.onnx'}", "max")
    settings = {"metrics": ("en",), "no_pictures": True, "no_tracking": True, "tracking_uri": None, "precision": "bf16"}
    with in_this_process():
        done = evaluate(plan_evaluation(config(tmp_path, str(tmp_path / "out"), methods, **settings)))
    rows = done.rows.select(["method", "pair_id", "status", "en"]).to_pylist()
    values = {(row["method"], row["pair_id"]): row["en"] for row in rows if row["status"] == "ok"}
    assert len(values) == 4
    for (method, pair_id), value in values.items():
        assert value == pytest.approx(values["max", pair_id], abs=0.05), method


def test_a_network_in_another_runtime_is_evaluated_apart_and_the_same_within_rounding(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from tests.exported import small_checkpoint, small_onnx

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("upfusion.exported_network.export_onnx", lambda _: small_onnx())
    make_archive(tmp_path / "in", 1)
    small_checkpoint().save(tmp_path / "small.safetensors")
    settings = {"metrics": ("en",), "no_pictures": True, "no_tracking": True, "tracking_uri": None}
    found = {}
    for runtime in ("torch", "onnxruntime"):
        given = config(
            tmp_path, str(tmp_path / "out"), (str(tmp_path / "small.safetensors"),), runtime=runtime, **settings
        )
        with in_this_process():
            plan = plan_evaluation(given)
            (row,) = evaluate(plan).rows.to_pylist()
        found[plan.methods[0].identity] = row["en"]
    assert len(found) == 2
    assert any("onnxruntime" in identity for identity in found)
    assert max(found.values()) == pytest.approx(min(found.values()), abs=0.02)
    assert len(list((tmp_path / "out" / "fused").glob("*/run.json"))) == 2
    with pytest.raises(UsageError):
        plan_evaluation(given.model_copy(update={"runtime": "openvino", "precision": "bf16"}))
