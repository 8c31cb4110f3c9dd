"""The MLflow run of a fuse job, in a real MLflow with its SQLite store."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Run

from pipelines.fuse import fuse, plan_fuse
from pipelines.fuse_config import FuseConfig
from pipelines.request import RequestError
from pipelines.tracking import check_tracking
from tests.archives import make_archive


@pytest.fixture
def tracking_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    before = mlflow.get_tracking_uri()
    yield f"sqlite:///{tmp_path}/mlflow.db"
    mlflow.set_tracking_uri(before)


def fuse_tracked(tmp_path: Path, tracking_uri: str, **settings: Any) -> None:
    config = FuseConfig(source=str(tmp_path / "in"), out=str(tmp_path / "out"), tracking_uri=tracking_uri, **settings)
    fuse(plan_fuse(config))


def runs(tracking_uri: str) -> list[Run]:
    client = mlflow.MlflowClient(tracking_uri)
    experiment = client.get_experiment_by_name("upfusion")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


@pytest.mark.usefixtures("ray_here")
def test_a_job_is_one_run_with_everything_one_asks_of_it(tmp_path: Path, tracking_uri: str) -> None:
    make_archive(tmp_path / "in", 3)
    (tmp_path / "in" / "visible" / "street_002.png").write_bytes(b"")
    fuse_tracked(tmp_path, tracking_uri, metrics="vif,en")

    (run,) = runs(tracking_uri)
    assert run.info.status == "FINISHED"
    assert run.data.params["model"] == "tiny"
    assert run.data.params["version.torch"]
    assert (run.data.metrics["pairs"], run.data.metrics["ok"], run.data.metrics["failed"]) == (3, 2, 1)
    assert {f"{m}_{n}" for m in ("vif", "en") for n in ("mean", "p5", "p50", "p95")} <= set(run.data.metrics)
    assert run.data.metrics["pairs_per_second"] > 0
    assert run.data.tags["ray.job_id"]
    assert run.inputs.dataset_inputs[0].dataset.name == "manifest"
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    assert json.loads((artifacts / "run.json").read_text())["config"]["model"] == "tiny"
    assert "empty_file" in (artifacts / "failures.json").read_text()
    assert "<html" in (artifacts / "report.html").read_text()
    assert list((artifacts / "triptychs").glob("*.png"))


@pytest.mark.usefixtures("ray_here")
def test_the_same_job_again_goes_on_in_the_same_run(tmp_path: Path, tracking_uri: str) -> None:
    make_archive(tmp_path / "in", 2)
    fuse_tracked(tmp_path, tracking_uri, metrics="en", limit=1)
    fuse_tracked(tmp_path, tracking_uri, metrics="en")
    (run,) = runs(tracking_uri)
    assert run.data.metrics["ok"] == 2


@pytest.mark.usefixtures("ray_here")
def test_a_job_that_crashes_is_a_failed_run(tmp_path: Path, tracking_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_archive(tmp_path / "in", 1)

    def crash(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("pipelines.fuse.write_report", crash)
    with pytest.raises(OSError, match="disk is full"):
        fuse_tracked(tmp_path, tracking_uri, metrics="en")
    (run,) = runs(tracking_uri)
    assert run.info.status == "FAILED"


def test_a_remote_cluster_without_a_tracking_server_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    check_tracking(None, no_tracking=False)
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(RequestError, match="--tracking-uri"):
        check_tracking(None, no_tracking=False)
    check_tracking(None, no_tracking=True)
    check_tracking("http://mlflow:5000", no_tracking=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    check_tracking(None, no_tracking=False)


@pytest.mark.usefixtures("ray_here")
def test_no_secret_reaches_a_tracked_run_or_the_destination(
    tmp_path: Path, tracking_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_archive(tmp_path / "in", 1)
    secret = "a-very-secret-word"
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", secret)
    fuse_tracked(tmp_path, tracking_uri, metrics="en")
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path
