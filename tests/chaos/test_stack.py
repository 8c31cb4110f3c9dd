"""A day on a cluster, as its users see it: train, fuse with what came out, evaluate; a host is lost on the way.

Everything is real: S3, MLflow with its database, and Ray's head and two workers, as hosts of their own where this
machine allows that.
"""

import io
import json
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import mlflow
import numpy as np
import psutil
import pyarrow.dataset as ds
import pytest
from click.testing import CliRunner
from mlflow.entities import Run
from PIL import Image
from s3fs import S3FileSystem

from infra.stack.__main__ import main as stack_command
from infra.stack.ray_nodes import WORKERS
from infra.stack.stack import Stack, start_stack
from jobs.command_line import main
from jobs.train import command as train_command
from pipelines.checkpoints.read import read_model
from pipelines.cluster import submit as submission
from pipelines.cluster.submit import Submission, follow
from pipelines.fuse.destination import Destination
from pipelines.storage import objects as storage
from pipelines.storage.ownership import DifferentSettingsError
from pipelines.train.folder import RunFolder
from pipelines.train.job import plan_train, train
from tests.archives import make_archive
from tests.object_store import AWS_SETTINGS_IN_THE_WAY, chosen_kind
from tests.tally import COUNTED, LINES
from tests.training import make_start
from upfusion.model import FusionModel

# The whole day is one fixture, which waits on busy machines.
pytestmark = [pytest.mark.slow, pytest.mark.extended, pytest.mark.timeout(900)]

PAIRS, TRAINED_ON = 32, 8
MODEL = "models:/streets@champion"
TRAIN = [
    *("s3://data/pairs", "--out", "s3://data/run", "--start", "s3://data/start.safetensors"),
    *("--register-as", "streets", "--alias", "champion"),
    *("--epochs=2", "--batch=4", "--crop=48", "--val-share=0.25", "--log-every=1", "--loaders=1", "--threads=1"),
]
STEPS = 3  # 2 epochs of 6 crops, 4 in a step
FUSE = ["fuse", "s3://data/night", "--out", "s3://data/fused", "--model", MODEL, "--images", "both"]


@dataclass(frozen=True)
class Said:
    """What a command of a person returned and said."""

    code: int
    output: str


@dataclass(frozen=True)
class Day:
    """What was said on the way, and what was left behind."""

    stack: Stack
    ids: list[str]
    trained: Said
    stopped: Said
    rows_when_stopped: int
    status_when_stopped: str
    lost: str
    status_when_lost: Said
    rows_when_lost: int
    fused: Said
    evaluated: Said


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    began = time.monotonic()
    # Paths of sockets lie below it, which may have a hundred characters.
    folder = Path(tempfile.gettempdir()) / f"upf-{uuid.uuid4().hex[:8]}"
    try:
        started = start_stack(folder, bound=True, store=chosen_kind(), say=LINES.append)
        LINES.append(f"stack: {started.parts['Ray'].partition('  ')[2]}, started in {time.monotonic() - began:.1f} s")
        with pytest.MonkeyPatch.context() as environment:
            for name in ("RAY_ADDRESS", *AWS_SETTINGS_IN_THE_WAY):
                environment.delenv(name, raising=False)
            for name, value in started.environment.items():
                environment.setenv(name, value)
            # Whether there is a token Ray decides when it is imported, which it was before.
            token = Path(started.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
            client = partial(submission.JobSubmissionClient, headers={"Authorization": f"Bearer {token}"})
            environment.setattr(submission, "JobSubmissionClient", client)
            # s3fs keeps its connections, and with them the environment they were made in.
            S3FileSystem.clear_instance_cache()
            yield started
        S3FileSystem.clear_instance_cache()
        started.stop()
    finally:
        assert not folder.exists()


@pytest.fixture(scope="module")
def day(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Day:
    folder = tmp_path_factory.mktemp("day")
    ids = make_archive(folder / "night", PAIRS, size=(160, 120))
    make_archive(folder / "pairs", TRAINED_ON)
    make_start(folder / "start.safetensors")
    for path in (path for path in folder.rglob("*") if path.is_file()):
        storage.write_bytes(f"s3://data/{path.relative_to(folder)}", path.read_bytes())

    trained = submit("train", *TRAIN, "--wait")
    assert trained.code == 0, trained.output

    # qp costs enough for blocks to be left at any moment.
    fusing = [*FUSE, "--metrics", "vif,qp", "--actors", "1"]
    sent = submission_of(submit(*fusing, "--job-metadata", "team=streets"))
    wait_for_rows(sent, more_than=0)
    submission.JobSubmissionClient(sent.address).stop_job(sent.id)
    stopped = followed(sent)
    rows_when_stopped = count_rows()
    status_when_stopped = run_of("fuse").info.status

    sent = submission_of(submit(*fusing, "--job-metadata", "team=streets"))
    wait_for_rows(sent, more_than=rows_when_stopped)
    lost = worker_at_work(stack)
    lose(stack, lost)
    rows_when_lost = count_rows()
    fused = followed(sent)
    status_when_lost = status_once_lost(stack)

    sets = ["s3://data/night", "--methods", MODEL, "mean", "--limit", "6", "--metrics", "vif", "--no-pictures"]
    words = ["python", "-m", "jobs.evaluate", *sets, "--out", "s3://data/compared", "--actors", "1"]
    checkout = Path(__file__).parents[2]
    evaluated = ray("job", "submit", "--working-dir", str(checkout), "--", *words)
    return Day(
        stack,
        ids,
        trained,
        stopped,
        rows_when_stopped,
        status_when_stopped,
        lost,
        status_when_lost,
        rows_when_lost,
        fused,
        evaluated,
    )


def submit(*words: str) -> Said:
    result = CliRunner().invoke(main, ["submit", *words], catch_exceptions=False)
    return Said(result.exit_code, result.output)


def ray(*words: str) -> Said:
    command = [sys.executable, "-m", "ray.scripts.scripts", *words]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=500, check=False
    )
    return Said(done.returncode, done.stdout)


def status_of(stack: Stack) -> Said:
    """Say what `make stack ARGS=status` does."""
    result = CliRunner().invoke(stack_command, ["--folder", str(stack.folder), "status"], catch_exceptions=False)
    return Said(result.exit_code, result.output)


def status_once_lost(stack: Stack) -> Said:
    """Say what the status is once Ray misses a host: the rest of a job can end sooner."""
    deadline = time.monotonic() + 60
    while not (said := status_of(stack)).code and time.monotonic() < deadline:
        time.sleep(1)
    return said


def submission_of(said: Said) -> Submission:
    assert said.code == 0, said.output
    told = dict(line.split(maxsplit=1) for line in said.output.splitlines())
    return Submission(told["Submitted"], told["Dashboard"].partition("/#/")[0], told["Command"])


def followed(sent: Submission) -> Said:
    said: list[str] = []
    code, why = follow(sent, said.append)
    return Said(code, "".join(said) + why)


def wait_for_rows(sent: Submission, *, more_than: int) -> None:
    deadline = time.monotonic() + 400
    while count_rows() <= more_than:
        assert time.monotonic() < deadline, followed(sent).output
        time.sleep(0.5)


def count_rows() -> int:
    return Destination("s3://data/fused").finished().rows.num_rows


def worker_at_work(stack: Stack) -> str:
    """Find a host that fuses."""
    for name in WORKERS:
        host = psutil.Process(stack.processes.started[name]["pid"])
        if any("FuseActor" in " ".join(one.cmdline()) for one in host.children(recursive=True)):
            return name
    raise AssertionError("no worker fuses")


def lose(stack: Stack, name: str) -> None:
    """Kill Ray's own process on a host, and with it all that Ray runs there; without hosts, all that was started."""
    if stack.network is None:
        stack.kill(name)
        return
    host = psutil.Process(stack.processes.started[name]["pid"])
    (raylet,) = [one for one in host.children(recursive=True) if one.name() == "raylet"]
    raylet.kill()


def rows_of_duckdb(query: str) -> list[Any]:
    with duckdb.connect() as database:
        database.register_filesystem(S3FileSystem())
        return database.sql(query).fetchall()


def test_a_training_leaves_its_best_model_its_pairs_and_its_last_checkpoint(day: Day) -> None:
    run, data = RunFolder("s3://data/run"), storage.read_bytes("s3://data/run/model.safetensors")
    summary = json.loads(storage.read_bytes(run.success))
    assert summary["steps"] == STEPS
    assert summary["registered"] == "models:/streets/1"
    model, registered = read_model(MODEL)
    assert registered == data
    assert model.provenance.training["step"] == summary["best"]["step"]
    assert model.provenance.metrics["validation"]["vif_balanced"] == summary["best"]["value"]
    assert model.provenance.data == "pairs (6 pairs)"
    assert rows_of_duckdb("select count(*) from 's3://data/run/data.parquet'") == [(TRAINED_ON,)]
    assert any(f"/step_{STEPS:07d}/" in uri for uri in storage.list_files(run.checkpoints))
    image = np.full((40, 40), 128, dtype=np.uint8)
    assert FusionModel(model, "cpu").fuse(image, image).shape == (40, 40)
    assert "models:/streets/1" in day.trained.output


@pytest.mark.usefixtures("day")
def test_a_training_is_one_mlflow_run_with_curves_pictures_and_its_data() -> None:
    client, tracked = mlflow.MlflowClient(), run_of("train")
    version = client.get_model_version_by_alias("streets", "champion")
    assert version.run_id == tracked.info.run_id
    assert version.tags["upfusion.digest"]
    assert [loss.step for loss in client.get_metric_history(tracked.info.run_id, "loss")] == [1, 2, 3]
    assert client.get_metric_history(tracked.info.run_id, "val_vif_balanced")
    assert tracked.data.params["crop"] == "48"
    assert [one.dataset.name for one in tracked.inputs.dataset_inputs] == ["data"]
    assert artifacts_of(tracked, "/images/")


@pytest.mark.usefixtures("day")
def test_a_finished_training_is_not_done_again_and_no_other_one_goes_there() -> None:
    outcome = train(plan_train(train_command.request(TRAIN)[0]))
    assert (outcome.seconds, outcome.steps) == (0, STEPS)
    with pytest.raises(DifferentSettingsError) as refused:
        plan_train(train_command.request([*TRAIN, "--learning-rate=0.5"])[0])
    assert set(refused.value.differing) == {"learning_rate"}


def test_a_stopped_job_says_so_and_the_next_submission_resumes(day: Day) -> None:
    assert day.stopped.code == 130
    assert day.status_when_stopped == "KILLED"
    assert 0 < day.rows_when_stopped < day.rows_when_lost < PAIRS
    assert re.search(r"\(\d+ [^)]*done\)", day.fused.output)


def test_a_lost_host_loses_no_pair_and_doubles_none(day: Day) -> None:
    assert day.fused.code == 0, day.fused.output
    # Ray knows, while the host's first process still runs.
    state = "is dead, says Ray" if day.stack.processes.runs(day.lost) else "has ended"
    assert day.stack.network is None or "says Ray" in state
    assert day.status_when_lost.code == 1
    assert re.search(rf"{day.lost} +{state}", day.status_when_lost.output)
    assert day.status_when_lost.output.count(" runs\n") == len(day.stack.processes.started) - 1
    COUNTED.update({"kills: a whole host of a cluster": 1})
    filesystem = S3FileSystem()
    rows = ds.dataset("data/fused/pairs", format="parquet", filesystem=filesystem).to_table().to_pylist()
    assert sorted(row["pair_id"] for row in rows) == day.ids
    assert {row["status"] for row in rows} == {"ok"}
    for row in rows:
        assert row["a_uri"] == f"s3://data/night/visible/{row['pair_id']}.png"
        assert filesystem.cat_file(row["fused_uri"]) == row["fused"]["bytes"]
    # What the evaluation fused anew, undisturbed, is the same image.
    again = {Path(uri).stem: uri for uri in storage.list_files("s3://data/compared/fused") if uri.endswith(".png")}
    assert len(again) == 6
    for row in rows:
        if row["pair_id"] in again:
            one, other = (pixels(data) for data in (row["fused"]["bytes"], filesystem.cat_file(again[row["pair_id"]])))
            assert np.array_equal(one, other)


@pytest.mark.usefixtures("day")
def test_results_are_read_with_duckdb() -> None:
    query = "select count(*), count(distinct pair_id), min(vif) from 's3://data/fused/pairs/*.parquet'"
    ((count, ids, vif),) = rows_of_duckdb(query)
    assert (count, ids) == (PAIRS, PAIRS)
    assert 0 < vif < 2
    values = rows_of_duckdb(
        "select method, count(value) from 's3://data/compared/values.parquet' group by 1 order by 1"
    )
    assert [count for _, count in values] == [6, 6]


def test_an_evaluation_that_ray_submits_says_what_came_out(day: Day) -> None:
    assert day.evaluated.code == 0, day.evaluated.output
    assert "succeeded" in day.evaluated.output
    assert "mean" in day.evaluated.output


@pytest.mark.usefixtures("day")
def test_runs_tell_their_submission_and_what_it_was_told() -> None:
    for kind in ("train", "fuse", "evaluate"):
        run = run_of(kind)
        assert run.info.status == "FINISHED", kind
        assert run.data.tags["ray.submission_id"], kind
    fused = run_of("fuse")
    assert fused.data.tags["ray.metadata.team"] == "streets"
    assert fused.data.tags["ray.submission_id"].startswith("fuse-fused-")
    assert fused.data.metrics["ok"] == PAIRS
    assert fused.info.artifact_uri.startswith("mlflow-artifacts:")
    assert artifacts_of(fused, "report.html")


@pytest.mark.usefixtures("stack")
def test_a_wrong_request_is_refused_before_it_is_sent_and_a_failed_job_has_its_code() -> None:
    refused = submit("fuse", "night", "--out", "s3://data/other")
    assert refused.code == 2
    assert "SOURCE 'night'" in refused.output
    failed = submit("fuse", "s3://data/nowhere", "--out", "s3://data/other", "--wait")
    assert failed.code == 2
    status = ray("job", "status", submission_of(Said(0, "\n".join(failed.output.splitlines()[:4]))).id)
    assert "failed" in status.output
    assert "exit code 2" in status.output


def run_of(kind: str) -> Run:
    """The one MLflow run of a kind of job."""
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("upfusion")
    assert experiment
    (run,) = [one for one in client.search_runs([experiment.experiment_id]) if one.info.run_name.startswith(kind)]
    return run


def artifacts_of(run: Run, named: str) -> list[str]:
    """List those artifacts of a run that have this in their URI."""
    uris = storage.list_files(f"s3://mlflow/artifacts/{run.info.experiment_id}/{run.info.run_id}")
    return [uri for uri in uris if named in uri]


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))
