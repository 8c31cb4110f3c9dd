"""One MLflow run per destination, however often its job is restarted."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.cluster.environment import DESTINATION, submitted
from pipelines.cluster.environment import is_remote as on_remote_cluster
from pipelines.cluster.runner import Runner
from pipelines.errors.exceptions import JobStoppedError, UsageError
from pipelines.storage import objects as storage
from pipelines.tracking.mlflow_client import NO_RETRIES, ONE_MINUTE, SHORT, mlflow_retry_limits, quiet_mlflow, reason_of

if TYPE_CHECKING:
    from mlflow.data.meta_dataset import MetaDataset


NOT_THE_USERS_METADATA = {"job_name", DESTINATION}
EXPERIMENT_KIND = "mlflow.experimentKind"
"""MLflow 3 opens an experiment without this tag in its views for generative AI; from 3.17 on the page's own switch
decides, which stands on generative AI unless the address says otherwise."""
MODEL_VIEWS = "?workflowType=machine_learning"
NOT_IN_A_TAG = re.compile(r"[^\w./ -]")


class TrackingLostError(JobStoppedError):
    """MLflow rejects or no longer receives the results of a job."""


def check_tracking(tracking_uri: str | None, *, no_tracking: bool) -> None:
    """Raise UsageError if the run would be tracked where it is lost, or on a server that does not respond."""
    if no_tracking:
        return
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri and on_remote_cluster():
        raise UsageError(
            "this job runs on a remote cluster and no MLflow server is configured, so its run would be lost with the "
            "machine. Set MLFLOW_TRACKING_URI, pass --tracking-uri URI, or disable tracking with --no-tracking."
        )
    if uri and uri.startswith("http"):  # a database would be created by the request
        from mlflow import MlflowClient

        quiet_mlflow()
        with mlflow_retry_limits(SHORT), _refusing(uri):
            MlflowClient(uri).search_experiments(max_results=1)


class Tracked(Protocol):
    """The tracking options of a configuration."""

    @property
    def experiment(self) -> str: ...
    @property
    def tracking_uri(self) -> str | None: ...
    @property
    def no_tracking(self) -> bool: ...


@dataclass(frozen=True)
class InputData:
    """The input data of a job, for the lineage of its run."""

    name: str
    uri: str
    digest: str


class TrackedRun:
    """The MLflow run of a job; this base class logs nothing, for jobs without tracking."""

    where: str | None = None
    """Where to view the run."""
    run_id: str | None = None

    def tag_ray_job(self, cluster: Runner) -> None:
        """Tag the run with the Ray job."""


class MLflowRun(TrackedRun):
    """Writes to an active MLflow run."""

    def __init__(self, where: str, run_id: str) -> None:
        self.where = where
        self.run_id = run_id

    @mlflow_retry_limits(ONE_MINUTE)
    def tag_ray_job(self, cluster: Runner) -> None:
        import mlflow

        if cluster.job_id is None:
            return
        tags = {"ray.job_id": cluster.job_id}
        for name, value in submitted().get("metadata", {}).items():
            if name == "job_submission_id":
                tags["ray.submission_id"] = value
            elif name not in NOT_THE_USERS_METADATA:
                tags["ray.metadata." + NOT_IN_A_TAG.sub("_", name)[:200]] = storage.redact(value)[:5000]
        mlflow.set_tags(tags)


@contextmanager
def open_run(
    config: Tracked, run: dict[str, Any], *, kind: str, uri: str, data: InputData, system_metrics: bool = False
) -> Iterator[TrackedRun]:
    """Open the run of a destination, new or resumed, and end it as FINISHED, FAILED or KILLED.

    `kind` is fuse, train or evaluate. Raises UsageError if MLflow cannot be used,
    and TrackingLostError if that happens later.
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
    with mlflow_retry_limits(SHORT), _refusing(mlflow.get_tracking_uri()):
        experiment = _open_experiment(config.experiment)
        job = hashlib.sha256(f"{uri}\n{run['digest']}".encode()).hexdigest()[:32]
        known = mlflow.search_runs([experiment], f"tags.`upfusion.job` = '{job}'", max_results=1, output_format="list")
        started = mlflow.start_run(
            run_id=known[0].info.run_id if known else None,
            run_name=f"{kind} {uri.rstrip('/').rsplit('/', 1)[-1]}",
            # With the run itself: a job that is killed between the two would never find its run again.
            tags=None if known else _tags(run, uri, job),
            log_system_metrics=system_metrics,
        )
    tracked = MLflowRun(_where(experiment, started.info.run_id), started.info.run_id)
    try:
        with mlflow_retry_limits(ONE_MINUTE):
            _describe(run, set(known[0].data.params) if known else set())
            mlflow.log_input(_dataset(data), context=kind)
        yield tracked
        with mlflow_retry_limits(ONE_MINUTE):
            mlflow.end_run()
    except BaseException as error:
        # The original error matters more than MLflow's.
        with mlflow_retry_limits(NO_RETRIES), suppress(MlflowException, RequestException):
            mlflow.end_run("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        if isinstance(error, MlflowException | RequestException):
            raise TrackingLostError(
                f"MLflow at {storage.redact(mlflow.get_tracking_uri())} rejects the results of the run: "
                f"{reason_of(error)}. Progress is saved in {uri}: once MLflow responds, rerun the same command "
                "to log it (nothing is computed twice), or use --no-tracking."
            ) from error
        raise


@contextmanager
def _refusing(uri: str) -> Iterator[None]:
    """Convert errors of MLflow or its database to UsageErrors."""
    try:
        yield
    except Exception as error:
        raise UsageError(
            f"MLflow at {storage.redact(uri)} cannot be used: {reason_of(error)}. Start it, choose another one "
            "with --tracking-uri or MLFLOW_TRACKING_URI, or disable tracking with --no-tracking."
        ) from error


def _open_experiment(name: str) -> str:
    """Select the experiment; for an SQLite file it is created with its artifacts beside the database."""
    import mlflow

    uri = mlflow.get_tracking_uri()
    if uri.startswith("sqlite:///") and mlflow.get_experiment_by_name(name) is None:
        folder = Path(uri.removeprefix("sqlite:///")).absolute().parent / "mlartifacts"
        mlflow.create_experiment(name, artifact_location=folder.as_uri())
    experiment = mlflow.set_experiment(name)
    if EXPERIMENT_KIND not in experiment.tags:
        mlflow.set_experiment_tag(EXPERIMENT_KIND, "custom_model_development")
    return str(experiment.experiment_id)


def _tags(run: dict[str, Any], uri: str, job: str) -> dict[str, str]:
    tags = {"upfusion.job": job, "upfusion.digest": run["digest"], "destination": uri}
    return tags | ({"mlflow.source.git.commit": run["git_commit"]} if run["git_commit"] else {})


def _describe(run: dict[str, Any], known: set[str]) -> None:
    """Log the parameters that a run began with, unless that is done; a job may have been killed before it was."""
    if "version.upfusion" in known:
        return
    import mlflow

    params = {name: value for name, value in run["config"].items() if value is not None}
    params |= {f"version.{name}": value for name, value in run["versions"].items()}
    if "model" in run:
        params["model.digest"] = run["model"]["digest"]
    mlflow.log_params({name: value for name, value in params.items() if name not in known})


def _dataset(data: InputData) -> "MetaDataset":
    from mlflow.data.http_dataset_source import HTTPDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    return MetaDataset(HTTPDatasetSource(data.uri), name=data.name, digest=data.digest[:16])  # type: ignore[abstract]


def _where(experiment: str, run_id: str) -> str:
    import mlflow

    uri = storage.redact(mlflow.get_tracking_uri())
    if uri.startswith("http"):
        return f"{uri.rstrip('/')}/#/experiments/{experiment}/runs/{run_id}{MODEL_VIEWS}"
    page = f"http://127.0.0.1:5000/#/experiments/{experiment}{MODEL_VIEWS}"
    return f"run {run_id}; view with: mlflow ui --backend-store-uri {uri}, at {page}"
