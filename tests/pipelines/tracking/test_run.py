"""The MLflow run of a fuse job, in a real MLflow with its SQLite store."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Run

from infra.stack.object_store import free_port
from pipelines.cluster.inline import InlineRunner
from pipelines.errors.exceptions import UsageError
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.job import fuse
from pipelines.fuse.plan import plan_fuse
from pipelines.tracking.run import InputData, TrackingLostError, check_tracking, open_run
from tests.archives import make_archive

JOB_ID = "01000000"
SECRET = "a-very-secret-word"
METADATA = {
    "job_submission_id": "fuse-out-1",
    "job_name": "fuse-out-1",
    "upfusion.destination": "/data/out",
    "team (night)": "streets",
    "note": f"signed with {SECRET}",
}


@dataclass(frozen=True)
class Tracked:
    """A job that was started twice for one destination, and the run as either left it."""

    folder: Path
    """Holds the archive `in`, the destination `out` and MLflow's database."""
    first: Run
    run: Run


def fuse_tracked(folder: Path, **settings: Any) -> None:
    uri = f"sqlite:///{folder}/mlflow.db"
    config = FuseConfig(
        source=str(folder / "in"),
        out=str(folder / "out"),
        tracking_uri=uri,
        metrics="vif,en",
        runner="inline",
        **settings,
    )
    fuse(plan_fuse(config))


def only_run(folder: Path, experiment: str = "upfusion") -> Run:
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    (run,) = client.search_runs([found.experiment_id])
    return run


@pytest.fixture(scope="module")
def tracked(tracking_in: Callable[[Path], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracked]:
    """Three pairs, one of them broken: the first alone, then the rest as if on Ray, in a submitted job."""
    folder = tmp_path_factory.mktemp("tracked")
    tracking_in(folder)
    make_archive(folder / "in", 3)
    (folder / "in" / "visible" / "street_002.png").write_bytes(b"")
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        environment.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
        fuse_tracked(folder, limit=1)
        first = only_run(folder)
        environment.setattr(InlineRunner, "job_id", JOB_ID)
        environment.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"metadata": METADATA}))
        fuse_tracked(folder, price_per_hour=2.0)
        yield Tracked(folder, first, only_run(folder))
    mlflow.set_tracking_uri(None)


def test_a_job_is_one_run_with_everything_one_asks_of_it(tracked: Tracked) -> None:
    run = tracked.run
    assert run.info.status == "FINISHED"
    assert run.data.params["model"] == "tiny"
    assert run.data.params["version.torch"]
    assert (run.data.metrics["pairs"], run.data.metrics["ok"], run.data.metrics["failed"]) == (3, 2, 1)
    assert {f"{m}_{n}" for m in ("vif", "en") for n in ("mean", "p5", "p50", "p95")} <= set(run.data.metrics)
    assert run.data.metrics["pairs_per_second"] > 0
    a_unit = run.data.metrics["pairs_per_second"] * 3600 / 2.0
    assert run.data.metrics["pairs_per_currency_unit"] == pytest.approx(a_unit)
    assert run.data.tags["ray.job_id"] == JOB_ID
    assert run.inputs.dataset_inputs[0].dataset.name == "manifest"
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    assert json.loads((artifacts / "run.json").read_text())["config"]["model"] == "tiny"
    assert "empty_file" in (artifacts / "failures.json").read_text()
    assert "<html" in (artifacts / "report.html").read_text()
    assert list((artifacts / "triptychs").glob("*.png"))


def test_a_submitted_job_tells_its_id_and_what_it_was_told(tracked: Tracked) -> None:
    assert not [name for name in tracked.first.data.tags if name.startswith("ray.")]
    tags = {name: value for name, value in tracked.run.data.tags.items() if name.startswith("ray.")}
    assert tags == {
        "ray.job_id": JOB_ID,
        "ray.submission_id": "fuse-out-1",
        "ray.metadata.team _night_": "streets",
        "ray.metadata.note": "signed with ***",
    }


def test_the_same_job_again_resumes_in_the_same_run(tracked: Tracked) -> None:
    assert tracked.first.info.run_id == tracked.run.info.run_id
    assert (tracked.first.data.metrics["ok"], tracked.run.data.metrics["ok"]) == (1, 2)


def test_a_job_that_crashes_is_a_failed_run(tracked: Tracked, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("pipelines.fuse.job.write_report", crash)
    with pytest.raises(OSError, match="disk is full"):
        fuse_tracked(tracked.folder, experiment="crashing")
    assert only_run(tracked.folder, "crashing").info.status == "FAILED"


def test_a_remote_cluster_without_a_tracking_server_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    check_tracking(None, no_tracking=False)
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(UsageError, match="--tracking-uri"):
        check_tracking(None, no_tracking=False)
    check_tracking(None, no_tracking=True)
    check_tracking("sqlite:////data/mlflow.db", no_tracking=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////data/mlflow.db")
    check_tracking(None, no_tracking=False)


@pytest.mark.usefixtures("forget_tracking")
def test_a_server_that_goes_away_stops_a_job_with_a_sentence_and_the_run_resumes_when_it_is_back(
    tmp_path: Path, tracking_in: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    there, gone = tracking_in(tmp_path), f"http://127.0.0.1:{free_port()}"
    told = {"digest": "1", "config": {"model": "tiny"}, "versions": {}, "git_commit": None}
    of = {"kind": "fuse", "uri": "/data/out", "data": InputData("manifest", "/data/out/manifest.parquet", "2")}

    def log(pairs: int, begins: str, resumes: str) -> None:
        with open_run(FuseConfig(source="in", out="out", tracking_uri=begins), told, **of):
            mlflow.set_tracking_uri(resumes)
            mlflow.log_metric("pairs", pairs)

    lost = r"MLflow at http://127.* rejects the results of the run: .*refused\. Progress is saved in /data/out"
    with pytest.raises(TrackingLostError, match=lost):
        log(1, there, gone)
    assert mlflow.active_run() is None
    for refused in (lambda: log(2, gone, gone), lambda: check_tracking(gone, no_tracking=False)):
        with pytest.raises(UsageError, match=r"MLflow.*http://127.*--no-tracking"):
            refused()
    log(3, there, there)
    client = mlflow.MlflowClient(there)
    (run,) = client.search_runs([client.get_experiment_by_name("upfusion").experiment_id])
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"pairs": 3})
    assert run.data.params == {"model": "tiny"}


@pytest.mark.usefixtures("forget_tracking")
def test_a_job_that_is_killed_before_its_run_is_described_finds_it_again(
    tmp_path: Path, tracking_in: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = FuseConfig(source="in", out="out", tracking_uri=tracking_in(tmp_path))
    told = {"digest": "1", "config": {"model": "tiny"}, "versions": {"upfusion": "1"}, "git_commit": "abc"}
    of = {"kind": "fuse", "uri": "/data/out", "data": InputData("manifest", "/data/out/manifest.parquet", "2")}

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killing:
        for name in ("set_tag", "set_tags", "log_params"):
            killing.setattr(mlflow, name, kill)
        with pytest.raises(KeyboardInterrupt), open_run(config, told, **of):
            pass
    assert only_run(tmp_path).data.params == {}
    with open_run(config, told, **of):
        pass
    run = only_run(tmp_path)
    assert run.data.params == {"model": "tiny", "version.upfusion": "1"}
    assert (run.data.tags["destination"], run.data.tags["mlflow.source.git.commit"]) == ("/data/out", "abc")
    with open_run(config, told | {"config": {"model": "base"}}, **of):
        pass
    assert only_run(tmp_path).data.params == run.data.params


def test_no_secret_reaches_a_tracked_run_or_the_destination(tracked: Tracked) -> None:
    for path in tracked.folder.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
