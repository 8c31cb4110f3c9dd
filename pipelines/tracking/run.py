"""One MLflow run a job, however often the job is started again for the same destination."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.cluster.ray_cluster import DESTINATION, Cluster, submitted
from pipelines.cluster.ray_cluster import is_remote as on_remote_cluster
from pipelines.errors.exceptions import JobStoppedError, RequestError
from pipelines.storage import objects as storage
from pipelines.tracking.mlflow_client import AT_ONCE, IN_A_MINUTE, SOON, giving_up, quiet_mlflow, reason_of

if TYPE_CHECKING:
    from mlflow.data.meta_dataset import MetaDataset


NOT_THE_USERS_METADATA = {"job_name", DESTINATION}
NOT_IN_A_TAG = re.compile(r"[^\w./ -]")


class TrackingLostError(JobStoppedError):
    """An MLflow that no longer takes what a job has to tell it."""


def check_tracking(tracking_uri: str | None, *, no_tracking: bool) -> None:
    """Raise RequestError where a run would be tracked in a place that nobody finds again, or that does not answer."""
    if no_tracking:
        return
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri and on_remote_cluster():
        raise RequestError(
            "this job runs on a remote cluster and no MLflow server is set, so its run would be lost with the "
            "machine. Set MLFLOW_TRACKING_URI, give --tracking-uri URI, or leave tracking out with --no-tracking."
        )
    if uri and uri.startswith("http"):  # a database would be made by being asked
        from mlflow import MlflowClient

        quiet_mlflow()
        with giving_up(SOON), _refusing(uri):
            MlflowClient(uri).search_experiments(max_results=1)


class Tracked(Protocol):
    """What a job's configuration says about tracking."""

    @property
    def experiment(self) -> str: ...
    @property
    def tracking_uri(self) -> str | None: ...
    @property
    def no_tracking(self) -> bool: ...


@dataclass(frozen=True)
class InputData:
    """The data of a job, for its run's lineage."""

    name: str
    uri: str
    digest: str


class TrackedRun:
    """What a job tells its MLflow run; this base class tells nobody, for jobs without tracking."""

    where: str | None = None
    """Where to look at the run."""
    run_id: str | None = None

    def tag_ray_job(self, cluster: Cluster) -> None:
        """Record on which Ray job the work is done."""


class MLflowRun(TrackedRun):
    """Writes to an active MLflow run."""

    def __init__(self, where: str, run_id: str) -> None:
        self.where = where
        self.run_id = run_id

    @giving_up(IN_A_MINUTE)
    def tag_ray_job(self, cluster: Cluster) -> None:
        import mlflow

        tags = {"ray.job_id": cluster.job_id}
        for name, value in submitted().get("metadata", {}).items():
            if name == "job_submission_id":
                tags["ray.submission_id"] = value
            elif name not in NOT_THE_USERS_METADATA:
                tags["ray.metadata." + NOT_IN_A_TAG.sub("_", name)[:200]] = storage.without_secrets(value)[:5000]
        mlflow.set_tags(tags)


@contextmanager
def open_run(
    config: Tracked, run: dict[str, Any], *, kind: str, uri: str, data: InputData, system_metrics: bool = False
) -> Iterator[TrackedRun]:
    """Open the run of a destination, anew or again, and end it as FINISHED, FAILED or KILLED.

    `kind` says what the job does with `data`: fuse, train or evaluate. Raises RequestError where MLflow cannot be used,
    and TrackingLostError where that is so later.
    """
    if config.no_tracking:
        yield TrackedRun()
        return
    import mlflow
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    quiet_mlflow()
    if config.tracking_uri:
        mlflow.set_tracking_uri(config.tracking_uri)
    with giving_up(SOON), _refusing(mlflow.get_tracking_uri()):
        experiment = _open_experiment(config.experiment)
        job = hashlib.sha256(f"{uri}\n{run['digest']}".encode()).hexdigest()[:32]
        known = mlflow.search_runs([experiment], f"tags.`upfusion.job` = '{job}'", max_results=1, output_format="list")
        started = mlflow.start_run(
            run_id=known[0].info.run_id if known else None,
            run_name=f"{kind} {uri.rstrip('/').rsplit('/', 1)[-1]}",
            log_system_metrics=system_metrics,
        )
    tracked = MLflowRun(_where(experiment, started.info.run_id), started.info.run_id)
    try:
        with giving_up(IN_A_MINUTE):
            if not known:
                _describe(run, uri, job)
            mlflow.log_input(_dataset(data), context=kind)
        yield tracked
        with giving_up(IN_A_MINUTE):
            mlflow.end_run()
    except BaseException as error:
        # What happened matters more than that MLflow may not hear of it.
        with giving_up(AT_ONCE), suppress(MlflowException, RequestException):
            mlflow.end_run("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        if isinstance(error, MlflowException | RequestException):
            raise TrackingLostError(
                f"MLflow at {storage.without_secrets(mlflow.get_tracking_uri())} does not take what there is to tell: "
                f"{reason_of(error)}. What was done is kept in {uri}: once MLflow answers, the same command again "
                "tells it, and does nothing twice; with --no-tracking it does without."
            ) from error
        raise


@contextmanager
def _refusing(uri: str) -> Iterator[None]:
    """Turn whatever MLflow or its database raises into a refusal."""
    try:
        yield
    except Exception as error:
        raise RequestError(
            f"MLflow at {storage.without_secrets(uri)} cannot be used: {reason_of(error)}. Start it, name another one "
            "with --tracking-uri or MLFLOW_TRACKING_URI, or leave tracking out with --no-tracking."
        ) from error


def _open_experiment(name: str) -> str:
    """Choose the experiment, making it with its artifacts beside the database where that is an SQLite file."""
    import mlflow

    uri = mlflow.get_tracking_uri()
    if uri.startswith("sqlite:///") and mlflow.get_experiment_by_name(name) is None:
        folder = Path(uri.removeprefix("sqlite:///")).absolute().parent / "mlartifacts"
        mlflow.create_experiment(name, artifact_location=folder.as_uri())
    return str(mlflow.set_experiment(name).experiment_id)


def _describe(run: dict[str, Any], uri: str, job: str) -> None:
    import mlflow

    mlflow.set_tags({"upfusion.job": job, "upfusion.digest": run["digest"], "destination": uri})
    if run["git_commit"]:
        mlflow.set_tag("mlflow.source.git.commit", run["git_commit"])
    mlflow.log_params({name: value for name, value in run["config"].items() if value is not None})
    mlflow.log_params({f"version.{name}": value for name, value in run["versions"].items()})
    if "model" in run:
        mlflow.log_params({"model.digest": run["model"]["digest"]})


def _dataset(data: InputData) -> "MetaDataset":
    from mlflow.data.http_dataset_source import HTTPDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    return MetaDataset(HTTPDatasetSource(data.uri), name=data.name, digest=data.digest[:16])  # type: ignore[abstract]


def _where(experiment: str, run_id: str) -> str:
    import mlflow

    uri = storage.without_secrets(mlflow.get_tracking_uri())
    if uri.startswith("http"):
        return f"{uri.rstrip('/')}/#/experiments/{experiment}/runs/{run_id}"
    return f"run {run_id} in {uri} (look with: mlflow ui --backend-store-uri {uri})"
