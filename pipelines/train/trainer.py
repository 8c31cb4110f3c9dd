"""Running the workers with Ray Train, which starts, monitors and restarts them."""

import threading
from collections.abc import Callable, Iterator

from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.util.queue import Queue

from pipelines.cluster.ray_cluster import why_waiting
from pipelines.cluster.runner import Workers
from pipelines.cluster.watchdog import watching
from pipelines.errors.exceptions import JobStoppedError
from pipelines.storage import objects as storage
from pipelines.train.callback import MLflowTarget, Report, Reporter, drain
from pipelines.train.folder import RunFolder
from pipelines.train.job_spec import TrainJob
from pipelines.train.worker import train_worker

KEPT_CHECKPOINTS = 2
"""The last checkpoint may be incomplete after a crash, so the one before it is kept."""


class TrainingStoppedError(JobStoppedError):
    """Losses that are NaN or Inf."""


def run_workers(
    job: TrainJob,
    folder: RunFolder,
    workers: Workers,
    mlflow_run: MLflowTarget | None,
    on_report: Callable[[Report], None],
) -> None:
    """Train to the last step, from the last checkpoint if there is one.

    Raises TrainingStoppedError if losses are NaN or Inf, and Ray Train's exception if workers are lost more
    often than they may be.
    """
    board = Queue(actor_options={"num_cpus": 0})
    fewest, most = job.config.worker_range
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=most if fewest == most else (fewest, most),  # type: ignore[arg-type]
            use_gpu=workers.gpus > 0,
            resources_per_worker={"CPU": workers.cpus, **({"GPU": workers.gpus} if workers.gpus else {})},
        ),
        run_config=RunConfig(
            # By this name Ray Train finds the checkpoints of a killed driver.
            name=folder.checkpoints.removeprefix(folder.uri).strip("/"),
            storage_path=folder.uri,
            failure_config=FailureConfig(max_failures=job.config.max_restarts),
            checkpoint_config=CheckpointConfig(num_to_keep=KEPT_CHECKPOINTS),
            callbacks=[Reporter(board, folder.checkpoints, mlflow_run)],  # type: ignore[list-item]
        ),
    )
    last: Report = {}

    def on_quiet(seconds: float) -> None:
        on_report({"warning": f"nothing reported for {seconds:.0f} s: {why_waiting(workers)}"})

    with watching(on_quiet) as moved:
        for report in _reports(trainer, board):
            moved()
            on_report(report)
            last = last | report
    if "diverged" in last:
        raise TrainingStoppedError(_explain_divergence(last, folder))


def _reports(trainer: TorchTrainer, board: Queue) -> Iterator[Report]:
    """Run a trainer in a thread and yield its reports; re-raises its exception."""
    failure: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:  # noqa: BLE001  # raised again by whoever waits
            failure.append(error)

    # On the main thread Ray Train would handle Ctrl-C itself and block the reading of reports.
    thread = threading.Thread(target=fit, name="train", daemon=True)
    thread.start()
    while thread.is_alive():
        yield from drain(board, seconds=0.5)
    yield from drain(board, seconds=0.1)
    if failure:
        raise failure[0]


def _explain_divergence(report: Report, folder: RunFolder) -> str:
    kept = (
        f"The last good checkpoint is {report['checkpoint']}" if "checkpoint" in report else "No checkpoint was saved"
    )
    if storage.exists(folder.model):
        kept += f", the best model so far {folder.model}"
    return (
        f"{report['diverged']}. {kept}. Start a new run with a smaller --learning-rate, with --clip 1 or with "
        "--warm-up, from --start MODEL if that model is good enough."
    )
