"""The callback in Ray Train's controller: forwards every report to the driver and to MLflow."""

import time
from io import BytesIO
from typing import Any

import ray.train
from PIL import Image
from ray.exceptions import RayActorError
from ray.train import UserCallback
from ray.util.queue import Empty, Queue

from pipelines.storage import objects as storage
from pipelines.tracking.mlflow_client import SHORT, mlflow_retry_limits, reason_of
from pipelines.train.folder import PICTURES
from pipelines.train.log import numbers_of

Report = dict[str, Any]
"""An entry of the log (step, losses, after a validation val_METRIC and best), and events:
checkpoint, diverged, lost, warning."""


class Reporter(UserCallback):
    """Forwards reports; runs in Ray Train's controller, which outlives the workers."""

    def __init__(self, board: Queue, checkpoints: str, mlflow_run: "MLflowTarget | None") -> None:
        self.board = board
        self.checkpoints = checkpoints
        self.mlflow_run = mlflow_run

    def after_report(
        self,
        run_context: Any,  # noqa: ARG002
        metrics: list[Report],
        checkpoint: ray.train.Checkpoint | None,
    ) -> None:
        *earlier, last = metrics[0]["log"] or [{}]
        if checkpoint is not None:
            last = last | {"checkpoint": checkpoint.path}
        if "diverged" in metrics[0]:
            last = last | {"diverged": metrics[0]["diverged"]}
        for entry in [*earlier, last]:
            self.board.put(entry | self._track(entry))

    def _track(self, entry: Report) -> Report:
        """Log an entry to MLflow; returns a warning if that fails."""
        if self.mlflow_run is None or "loss" not in entry:
            return {}
        pictures = None
        if "validation_seconds" in entry:
            pictures = storage.join(self.checkpoints, f"step_{entry['step']:07d}", PICTURES)
        try:
            with mlflow_retry_limits(SHORT):
                self.mlflow_run.log(entry, pictures)
        except Exception as error:  # noqa: BLE001  # an unavailable tracking server must not end a training run
            return {"warning": f"MLflow did not log step {entry['step']}: {reason_of(error)}"}
        return {}

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:  # noqa: ARG002
        rank, error = next(iter(worker_exceptions.items()))
        self.board.put({"lost": f"worker {rank}: {_say(error)}"})


class MLflowTarget:
    """An MLflow run, written from another process than the one that opened it."""

    def __init__(self, tracking_uri: str, run_id: str) -> None:
        self.tracking_uri = tracking_uri
        self.run_id = run_id
        self._logged: set[int] | None = None
        """Steps that are already logged."""
        self._waiting: list[tuple[Report, str | None]] = []
        """Reports that are not logged yet."""

    def log(self, report: Report, pictures: str | None = None) -> None:
        """Log a report's numbers, and the pictures in a folder; steps that were logged before are skipped.

        Raises MLflow's exceptions; reports that failed are retried with the next one.
        """
        self._waiting.append((report, pictures))
        while self._waiting:
            self._send(*self._waiting[0])
            del self._waiting[0]

    def _send(self, report: Report, pictures: str | None) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        client = MlflowClient(self.tracking_uri)
        if self._logged is None:
            self._logged = {metric.step for metric in client.get_metric_history(self.run_id, "loss")}
        step = int(report["step"])
        if step in self._logged:
            return
        now = int(time.time() * 1000)
        for number, file in enumerate(storage.list_files(pictures) if pictures else [], start=1):
            picture = Image.open(BytesIO(storage.read_bytes(file)))
            client.log_image(self.run_id, picture, key=f"triptych_{number}", step=step)
        metrics = [Metric(name, value, now, step) for name, value in numbers_of(report).items()]
        client.log_batch(self.run_id, metrics=metrics)
        self._logged.add(step)


def drain(board: Queue, seconds: float) -> list[Report]:
    """Yield the queued reports, waiting up to `seconds` for the first."""
    reports: list[Report] = []
    try:
        reports.append(board.get(timeout=seconds))
        while True:
            reports.append(board.get_nowait())
    except Empty:
        pass
    except RayActorError:
        time.sleep(seconds)  # the queue is gone, and the run continues
    return reports


def _say(error: Exception) -> str:
    """Return an error in one line, without Ray's frames around it."""
    lines = str(error).strip().splitlines() or [""]
    return storage.redact(f"{type(error).__name__}: {lines[-1] if len(lines) > 1 else lines[0]}"[:300])
