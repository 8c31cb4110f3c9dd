"""The training job in this process, on Ray: whatever is killed, the run ends as if nothing had been."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import psutil
import pytest

from pipelines.checkpoints.read import read_model
from pipelines.storage import objects as storage
from pipelines.storage.lock import DestinationBusyError, locked
from pipelines.storage.ownership import DifferentSettingsError
from pipelines.train.callback import Report
from pipelines.train.folder import RunFolder
from pipelines.train.log import read_log
from pipelines.train.trainer import TrainingStoppedError
from tests.archives import make_archive
from tests.training import Heard, make_start, train_mini
from upfusion.checkpoint import Checkpoint, Provenance
from upfusion.model import FusionModel

pytestmark = [pytest.mark.usefixtures("ray_here"), pytest.mark.slow]

PAIRS, STEPS = 30, 24  # 6 pairs validate, 4 epochs of 24 crops, 4 in a step


@pytest.fixture(scope="module", autouse=True)
def quick_reports() -> Any:
    """Ray Train looks for reports every two seconds, which is longer than these runs have for a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pairs/`, `start.safetensors` and `teacher.safetensors`."""
    folder = tmp_path_factory.mktemp("training")
    make_archive(folder / "pairs", PAIRS)
    start = Checkpoint.load(make_start(folder / "start.safetensors"))
    noisy = {name: weight * 1.1 if weight.is_floating_point() else weight for name, weight in start.weights.items()}
    replace(start, name="teacher", weights=noisy, provenance=Provenance(data="streets")).save(
        folder / "teacher.safetensors"
    )
    return folder


@pytest.fixture(scope="module")
def whole(folder: Path, tracking_in: Callable[[Path], str]) -> tuple[RunFolder, Heard]:
    """A run that nothing happened to."""
    heard = Heard()
    uri = tracking_in(folder)
    registered = {"register_as": "mini", "alias": "champion", "tracking_uri": uri}
    outcome = train_mini(folder / "pairs", folder / "whole", heard, **beginning(folder), **registered)
    mlflow.set_tracking_uri(None)
    assert outcome.steps == STEPS
    return outcome.folder, heard


def beginning(folder: Path) -> dict[str, Any]:
    return {
        "start": str(folder / "start.safetensors"),
        "teacher": str(folder / "teacher.safetensors"),
        "imitation": 0.5,
    }


def last_state(run: RunFolder) -> bytes:
    return storage.read_bytes(storage.join(run.checkpoints, f"step_{STEPS:07d}", "state.safetensors"))


class Killer(Heard):
    """Kills every worker of this process's Ray as soon as a step is told of, once."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step
        self.killed = 0

    def on_report(self, report: Report) -> None:
        super().on_report(report)
        if not self.killed and report.get("step", 0) >= self.step:
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):  # gone by itself
                    if any("RayTrainWorker" in word for word in process.cmdline()):
                        os.kill(process.pid, signal.SIGKILL)
                        self.killed += 1


def test_a_run_leaves_its_best_model_its_pairs_and_its_last_checkpoints(whole: tuple[RunFolder, Heard]) -> None:
    run, heard = whole
    summary = json.loads(storage.read_bytes(run.success))
    validated = {r["step"]: r["val_vif_balanced"] for r in heard.reports if "val_vif_balanced" in r}
    assert list(validated) == [12, 24]
    best = max(validated, key=lambda step: validated[step])
    assert summary["best"] == {"step": best, "value": validated[best]}
    model, _ = read_model(run.model)
    assert model.provenance.trained
    assert model.provenance.training["step"] == best
    assert model.provenance.metrics["validation"]["vif_balanced"] == validated[best]
    assert model.provenance.data == "pairs (24 pairs)"
    taught = "imitates teacher, which was trained on: streets"
    assert model.provenance.notes == ("initialised with random weights", taught)
    assert model.provenance.training["teacher"] == Checkpoint.load(run.teacher).digest
    image = np.full((40, 40), 128, dtype=np.uint8)
    assert FusionModel(model, "cpu").fuse(image, image).shape == (40, 40)
    page = storage.read_bytes(run.report).decode()
    assert page.count("data:image/jpeg") == 4
    assert f"of {STEPS} steps" in page
    names = {uri.split("/checkpoints/")[1].split("/")[0] for uri in storage.list_files(run.checkpoints)}
    assert {name for name in names if name.startswith("step_")} == {"step_0000020", "step_0000024"}


def test_the_losses_fall_and_every_step_is_told_of(whole: tuple[RunFolder, Heard]) -> None:
    run, heard = whole
    assert list(heard.losses) == list(range(1, STEPS + 1))
    assert all(row["imitation"] > 0 for row in read_log(run.log))
    assert np.mean(list(heard.losses.values())[-6:]) < np.mean(list(heard.losses.values())[:6])
    assert [(row["step"], row["loss"]) for row in read_log(run.log)] == list(heard.losses.items())
    validated = [row for row in read_log(run.log) if "val_qp" in row]
    assert [(row["step"], row["validation_seconds"] > 0) for row in validated] == [(12, True), (24, True)]
    rates = [report["learning_rate"] for report in heard.reports if "loss" in report]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[-1] < 0.2 * max(rates)


def test_a_run_is_one_mlflow_run_with_curves_pictures_and_its_data(
    folder: Path, whole: tuple[RunFolder, Heard]
) -> None:
    _, heard = whole
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("upfusion")
    assert experiment is not None
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == "FINISHED"
    curve = {metric.step: metric.value for metric in client.get_metric_history(tracked.info.run_id, "loss")}
    assert curve == heard.losses
    assert len(client.get_metric_history(tracked.info.run_id, "val_qp")) == 2
    assert tracked.data.params["learning_rate"] == "0.0002"
    assert [one.dataset.name for one in tracked.inputs.dataset_inputs] == ["data"]
    artifacts = Path(tracked.info.artifact_uri.removeprefix("file://"))
    assert len({file.name.split("+")[0] for file in (artifacts / "images").glob("*.png")}) == 4


@pytest.mark.extended
def test_a_run_that_resumes_tells_mlflow_what_it_missed(folder: Path, whole: tuple[RunFolder, Heard]) -> None:
    shutil.copytree(whole[0].uri, folder / "moved")
    (folder / "moved" / "_SUCCESS.json").unlink()
    settings = {"no_tracking": False, "tracking_uri": f"sqlite:///{folder}/mlflow.db", "experiment": "moved"}
    heard = Heard()
    outcome = train_mini(folder / "pairs", folder / "moved", heard, **beginning(folder), **settings)
    assert heard.losses == {}
    assert outcome.best == json.loads(storage.read_bytes(whole[0].success))["best"]
    client = mlflow.MlflowClient(settings["tracking_uri"])
    (tracked,) = client.search_runs([client.get_experiment_by_name("moved").experiment_id])
    curve = {metric.step: metric.value for metric in client.get_metric_history(tracked.info.run_id, "loss")}
    assert curve == whole[1].losses


def test_the_best_model_is_registered_under_its_alias(folder: Path, whole: tuple[RunFolder, Heard]) -> None:
    _, data = read_model("models:/mini@champion", f"sqlite:///{folder}/mlflow.db")
    assert data == storage.read_bytes(whole[0].model)
    assert json.loads(storage.read_bytes(whole[0].success))["registered"] == "models:/mini/1"


@pytest.mark.extended
def test_a_run_whose_worker_is_killed_ends_in_the_same_bytes_also_in_a_store(
    folder: Path, whole: tuple[RunFolder, Heard], bucket: str
) -> None:
    for file in storage.list_files(str(folder / "pairs")):
        storage.write_bytes(bucket + file.split(str(folder))[1], Path(file).read_bytes())
    killer = Killer(step=10)
    train_mini(f"{bucket}/pairs", f"{bucket}/run", killer, **beginning(folder), cache_folder=str(folder / "cache"))
    assert killer.killed
    assert any("lost" in report for report in killer.reports)
    told = [report["step"] for report in killer.reports if "step" in report]
    went_back = [before - step for before, step in pairwise(told) if step <= before]
    assert all(steps < 4 for steps in went_back)  # checkpoint_every
    assert killer.losses == whole[1].losses
    assert last_state(RunFolder(f"{bucket}/run")) == last_state(whole[0])
    assert storage.read_bytes(f"{bucket}/run/model.safetensors") == storage.read_bytes(whole[0].model)
    assert {row["step"]: row["loss"] for row in read_log(f"{bucket}/run/log.parquet")} == killer.losses
    assert len(read_log(f"{bucket}/run/log.parquet")) == STEPS


@pytest.mark.extended
def test_two_workers_take_the_steps_of_one(folder: Path, whole: tuple[RunFolder, Heard]) -> None:
    heard = Heard()
    train_mini(folder / "pairs", folder / "two", heard, **beginning(folder), workers="2")
    assert list(heard.losses) == list(range(1, STEPS + 1))
    # Sums in another order differ in their last bit, and each step doubles that.
    difference = [abs(heard.losses[step] - whole[1].losses[step]) for step in range(1, 21)]
    assert max(difference) < 1e-4, difference
    assert {report["workers"] for report in heard.reports if "loss" in report} == {2}
    one, two = (json.loads(storage.read_bytes(run.success)) for run in (whole[0], RunFolder(str(folder / "two"))))
    assert two["best"]["value"] == pytest.approx(one["best"]["value"], abs=1e-3)


@pytest.mark.usefixtures("whole")
def test_a_finished_run_is_not_trained_again(folder: Path) -> None:
    heard = Heard()
    outcome = train_mini(folder / "pairs", folder / "whole", heard, **beginning(folder))
    assert (outcome.seconds, outcome.steps, heard.reports) == (0, STEPS, [])
    assert outcome.best is not None


@pytest.mark.usefixtures("whole")
def test_another_configuration_is_refused_with_what_differs(folder: Path) -> None:
    with pytest.raises(DifferentSettingsError) as refused:
        train_mini(folder / "pairs", folder / "whole", **beginning(folder), learning_rate=0.5)
    assert refused.value.differing == {"learning_rate": (0.0002, 0.5)}


@pytest.mark.extended
def test_losses_that_are_no_numbers_stop_the_run_with_the_last_good_checkpoint(folder: Path) -> None:
    settings = {"learning_rate": 1e18, "clip": None, "warm_up": 0, "checkpoint_every": 1, "val_share": 0.0}
    with pytest.raises(TrainingStoppedError, match=r"\bstep \d+\b.*/step_000000\d"):
        train_mini(folder / "pairs", folder / "nan", **beginning(folder), **settings)


def test_a_run_that_another_job_writes_is_left_alone(folder: Path, tmp_path: Path) -> None:
    with locked(str(tmp_path / "out"), "training run"), pytest.raises(DestinationBusyError, match="training run"):
        train_mini(folder / "pairs", tmp_path / "out", **beginning(folder))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"_lock"}
