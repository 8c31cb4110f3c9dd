"""The training job: pairs in, checkpoints and the best model out, on any number of workers.

    find -> read every pair once -> workers (crops -> network -> losses -> step) -> validate -> checkpoint

Ray Train starts, monitors and restarts the workers and stores their checkpoints; a run is its folder, and the same
command resumes where it stopped.
"""

import json
import math
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from pipelines.archive.splits import TRAIN, VAL
from pipelines.checkpoints.read import local_copy
from pipelines.cluster.destination_lock import own_destination
from pipelines.cluster.git import git_commit
from pipelines.cluster.ray_cluster import Cluster
from pipelines.cluster.shared_paths import check_shared_paths
from pipelines.errors.exceptions import JobStoppedError, UsageError
from pipelines.errors.redaction import redact_values
from pipelines.sources.ranges import Limits, kept_ranges, sample_ranges, with_ranges
from pipelines.sources.settings import SourceSettings, find_rigs
from pipelines.storage import objects as storage
from pipelines.storage.ownership import digest_of, is_claimed, read_claim, write_claim
from pipelines.storage.parquet import read_table, write_table
from pipelines.storage.retry import RETRY_SECONDS_PLANNING, retrying_at_most
from pipelines.tracking.mlflow_client import ONE_MINUTE, mlflow_retry_limits
from pipelines.tracking.run import InputData, TrackedRun, check_tracking, open_run
from pipelines.train.callback import MLflowTarget, Report
from pipelines.train.config import TrainConfig
from pipelines.train.data import TrainingPairs, check_known, check_pairs, find_pairs, refuse_bad
from pipelines.train.folder import RunFolder
from pipelines.train.job_spec import TrainJob
from pipelines.train.log import Numbers, best_of, read_log
from pipelines.train.report import write_report
from pipelines.train.start import find_teacher, make_start, read_checkpoint
from pipelines.train.trainer import run_workers
from upfusion.checkpoint import Checkpoint, Provenance
from upfusion.counted import counted
from upfusion.guidance import Guidance
from upfusion.priors import PriorUnavailableError
from upfusion.version import __version__

NOT_ON_MODEL_CARD = frozenset(
    {"preset", "data", "val", "val_share", "val_pairs", "validate_every", "bad_data", "terms"}
)
"""Settings that the model card states elsewhere, or that only affect the choice of the checkpoint."""


@dataclass(frozen=True)
class TrainPlan:
    """Checked arguments; creating a plan writes and starts nothing."""

    config: TrainConfig
    start: Checkpoint
    teacher: Checkpoint | None
    found: pa.Table
    sources: SourceSettings
    """How the files of every pair become A and B."""
    run: dict[str, Any]


@dataclass(frozen=True)
class TrainOutcome:
    """The outcome of a finished run."""

    folder: RunFolder
    steps: int
    best: dict[str, float] | None
    """Step and value of the best validation."""
    pairs: TrainingPairs
    seconds: float
    """Duration of this call; 0 if the run was already done."""
    tracked: str | None = None
    registered: str | None = None


class Listener:
    """Callbacks of a run; this base class does nothing."""

    def on_check(self, done: int, total: int) -> None:
        """Called while pairs are checked."""

    def on_pairs(self, pairs: TrainingPairs, steps: int) -> None:
        """Called once pairs and steps are known, before the first step."""

    def on_report(self, report: Report) -> None:
        """Called with every report of the workers and every event of Ray Train."""


@retrying_at_most(RETRY_SECONDS_PLANNING)
def plan_train(config: TrainConfig) -> TrainPlan:
    """Check a configuration; raises UsageError."""
    check_shared_paths(config)
    check_tracking(config.tracking_uri, no_tracking=config.no_tracking)
    folder = RunFolder(config.out)
    result = config.result_settings()
    try:
        resumes = storage.exists(folder.start)
        start = read_checkpoint(folder.start) if resumes else make_start(config)
        teacher = find_teacher(config, folder, start)
        found = find_pairs(config)
        sources = _settle_sources(config, folder, found)
    except UsageError:
        raise
    except (OSError, ImportError, ValueError) as error:
        raise UsageError(storage.redact(str(error))) from error
    result |= {} if sources.rigs is None else {"rig": sources.rigs.digest()}
    run = {
        "digest": digest_of(result),
        "result": result,
        "config": config.model_dump(mode="json"),
        "model": {"name": start.name, "digest": start.digest},
        "versions": {name: version(name) for name in ("torch", "timm", "ray", "numpy", "pillow")}
        | {"upfusion": __version__},
        "git_commit": git_commit(),
    }
    try:
        if not is_claimed(folder.uri, run, config.result_defaults()) and storage.list_files(folder.checkpoints):
            raise UsageError(f"{folder.uri} holds checkpoints/ but no run.json; choose another --out")
    except OSError as error:
        raise UsageError(f"--out {folder.uri} cannot be used: {storage.redact(str(error))}") from error
    return TrainPlan(config, start, teacher, found, sources, with_ranges(redact_values(run), sources.ranges))


def _settle_sources(config: TrainConfig, folder: RunFolder, found: pa.Table) -> SourceSettings:
    """Return how pairs are prepared; each root has ranges of its own, which a run that resumes keeps."""
    limits = Limits(config.max_bytes, config.max_pixels)
    roots = found["root"].unique().to_pylist()  # ids begin with the name of their root
    folders = roots if len(roots) > 1 else ()
    ranges = sample_ranges(found, config, kept_ranges(read_claim(folder.uri)), limits, folders)
    rigs = find_rigs(config, found)
    return SourceSettings(config, ranges, rigs and rigs.below(roots))


def train(plan: TrainPlan, listener: Listener | None = None, *, verbose: bool = False) -> TrainOutcome:
    """Execute a plan, or the rest of it.

    Raises UsageError if pairs are unusable, DEST was made with other settings or another job is writing it, and
    TrainingStoppedError if the run cannot continue by itself.
    """
    began = time.monotonic()
    listener = listener or Listener()
    config, folder = plan.config, RunFolder(plan.config.out)
    if storage.exists(folder.success):
        return _finished_before(folder, listener)
    with (
        own_destination(folder.uri, "training run", lambda text: listener.on_report({"warning": text})) as lock,
        Cluster(verbose=verbose) as cluster,
    ):
        pairs = _claim(plan, folder, listener)
        steps = math.ceil(config.epochs * len(pairs.of(TRAIN)) / config.batch)
        listener.on_pairs(pairs, steps)
        data = InputData("data", folder.data, pairs.digest)
        with open_run(config, plan.run, kind="train", uri=folder.uri, data=data, system_metrics=True) as tracked:
            tracked.tag_ray_job(cluster)
            workers = cluster.trainers(config.worker_range, config.gpus_per_worker)
            job = _job(plan, folder, pairs, steps, config.threads or workers.threads)
            target = _target(tracked)

            def report(numbers: Report) -> None:
                lock.check()
                listener.on_report(numbers)
                if "validation_seconds" in numbers and "checkpoint" in numbers:
                    _show(folder, steps, listener)

            run_workers(job, folder, workers, target, report)
            lock.check()
            log = read_log(folder.log)
            _show(folder, steps, listener)
            if target:
                _complete(target, log)
            registered = _register(config, folder, tracked)
        # Last, because a run marked as finished is not resumed.
        best, seconds = best_of(log), time.monotonic() - began
        summary = {"steps": steps, "best": best, "seconds": seconds, "workers": config.workers}
        summary |= {"tracked": tracked.where, "registered": registered}
        storage.write_bytes(folder.success, (json.dumps(summary, indent=2) + "\n").encode())
        return TrainOutcome(folder, steps, best, pairs, seconds, tracked.where, registered)


def _claim(plan: TrainPlan, folder: RunFolder, listener: Listener) -> TrainingPairs:
    """Read the pairs of a resumed run, or check those of a new one and claim its folder."""
    if storage.exists(folder.data):
        return check_known(TrainingPairs(read_table(folder.data)), folder.data, plan.config)
    pairs = check_pairs(plan.found, plan.config, listener.on_check, plan.sources.preparation)
    refuse_bad(pairs, plan.config)
    try:
        write_claim(folder.uri, plan.run)
        if plan.teacher:
            storage.write_bytes(folder.teacher, plan.teacher.to_bytes())
        storage.write_bytes(folder.start, plan.start.to_bytes())
        write_table(folder.data, pairs.table)
    except OSError as error:
        raise UsageError(f"--out {folder.uri} cannot be used: {storage.redact(str(error))}") from error
    return pairs


def _job(plan: TrainPlan, folder: RunFolder, pairs: TrainingPairs, steps: int, threads: int) -> TrainJob:
    return TrainJob(
        config=plan.config.model_copy(update={"tracking_uri": None}),
        steps=steps,
        start=folder.start,
        teacher=folder.teacher if plan.teacher else None,
        model=folder.model,
        log=folder.log,
        train_pairs=pairs.of(TRAIN),
        val_pairs=pairs.of(VAL),
        texts=_embed_prompts(plan, pairs),
        preparation=plan.sources.preparation,
        provenance=_provenance(plan, pairs),
        threads=threads,
    )


def _embed_prompts(plan: TrainPlan, pairs: TrainingPairs) -> dict[tuple[str, str | None], list[float]]:
    """Embed the prompts on the driver, by (task, prompt of the row)."""
    with local_copy(plan.config.text_encoder, "--text-encoder") as text_encoder:
        guidance = Guidance(plan.start, text_encoder)
        guided = {(row["task"], row["prompt"]) for row in pairs.table.to_pylist()}
        try:
            return {(task, prompt): guidance.embed(task, prompt).tolist() for task, prompt in guided}
        except (PriorUnavailableError, ValueError) as error:
            raise UsageError(str(error)) from error


def _provenance(plan: TrainPlan, pairs: TrainingPairs) -> Provenance:
    """Return the provenance of the weights, without the fields that depend on the step."""
    before = plan.start.provenance
    data = ", ".join(f"{root} ({counted(count, 'pair')})" for root, count in pairs.roots.items())
    notes = [f"started from weights trained on: {before.data}"]
    if not before.trained:
        notes = [f"initialised with {note}" for note in before.notes]
    settings = {name: value for name, value in plan.run["result"].items() if name not in NOT_ON_MODEL_CARD}
    if plan.teacher:
        settings["teacher"] = plan.teacher.digest
        notes.append(f"imitates {plan.teacher.name}, which was trained on: {plan.teacher.provenance.data}")
    return Provenance(
        data=data,
        git_commit=plan.run["git_commit"],
        licence=plan.config.terms,
        training=settings | {"start": plan.start.digest, "pairs": pairs.digest},
        notes=tuple(notes),
    )


def _show(folder: RunFolder, steps: int, listener: Listener) -> None:
    """Write the page of a run; whatever it lacks is no reason to end a training."""
    try:
        write_report(folder, steps)
    except Exception as error:  # noqa: BLE001
        said = storage.redact(f"{type(error).__name__}: {error}")
        listener.on_report({"warning": f"{folder.report} was not written: {said}"})


def _target(tracked: TrackedRun) -> MLflowTarget | None:
    if tracked.run_id is None:
        return None
    import mlflow

    return MLflowTarget(mlflow.get_tracking_uri(), tracked.run_id)


@mlflow_retry_limits(ONE_MINUTE)
def _complete(target: MLflowTarget, log: list[Numbers]) -> None:
    """Log the reports that MLflow did not accept during the run."""
    for entry in log:
        target.log(entry)


def _register(config: TrainConfig, folder: RunFolder, tracked: TrackedRun) -> str | None:
    if not config.register_as:
        return None
    from pipelines.tracking.registry import register_model

    assert tracked.run_id is not None
    data = storage.read_bytes(folder.model)
    try:
        number = register_model(data, config.register_as, run_id=tracked.run_id, alias=config.alias)
    except UsageError as error:
        raise JobStoppedError(
            f"{error}. It is saved in {folder.model}; rerun the same command to register it."
        ) from error
    return f"models:/{config.register_as}/{number}"


def _finished_before(folder: RunFolder, listener: Listener) -> TrainOutcome:
    summary = json.loads(storage.read_bytes(folder.success))
    if not storage.exists(folder.report):  # an earlier version wrote none
        _show(folder, summary["steps"], listener)
    pairs = TrainingPairs(read_table(folder.data))
    known = summary["steps"], summary["best"], pairs, 0.0, summary["tracked"], summary["registered"]
    return TrainOutcome(folder, *known)
