"""What every version so far wrote is read, and resumed from, by this one."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines.evaluate.folder import EvaluationFolder
from pipelines.fuse import plan as fuse_plan
from pipelines.fuse.job import fuse
from pipelines.fuse.plan import plan_fuse
from pipelines.storage import objects as storage
from pipelines.storage.schema_version import SCHEMA_VERSION
from pipelines.train.state import read_state
from tests.archives import make_pair
from tests.end_to_end.test_fuse_archive import rows_of
from tests.object_store import ObjectStore
from tests.written.make import BUCKET, METRICS, batch, fuse_config, learner, start_of_training, upload
from upfusion.checkpoint import parse_checkpoint

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Written:
    """What one version left."""

    folder: Path
    expected: dict[str, Any]


@pytest.fixture(params=[str(version) for version in range(1, SCHEMA_VERSION + 1)])
def written(request: pytest.FixtureRequest) -> Written:
    folder = HERE / request.param
    return Written(folder, json.loads((folder / "expected.json").read_text()))


@pytest.fixture
def bucket(written: Written, object_store: ObjectStore) -> str:
    uri = object_store.new_bucket(BUCKET)
    for old in storage.list_files(uri):
        storage.delete(old)
    upload(written.folder)
    return uri


def test_a_model_is_what_it_was(written: Written) -> None:
    model = parse_checkpoint((written.folder / "model.safetensors").read_bytes(), "model")
    assert model.digest == written.expected["digest"]
    assert model.build_network() is not None


def test_a_training_resumes_with_the_step_that_it_would_have_taken(written: Written) -> None:
    state, best = read_state(written.folder / "state.safetensors")
    trained = learner(start_of_training())
    trained.load_state(state)
    assert (trained.step, best) == (3, {"step": 2, "value": 0.5})
    assert float(trained.learn([batch(3)])["loss"]) == pytest.approx(written.expected["next_loss"], rel=1e-4)


def test_what_was_measured_is_found(written: Written, tmp_path: Path) -> None:
    shutil.copytree(written.folder / "evaluated", tmp_path / "evaluated")
    folder = EvaluationFolder(str(tmp_path / "evaluated"))
    folder.claim(json.loads(storage.read_bytes(folder.run_json)))
    rows = folder.read_rows(METRICS).to_pylist()
    assert {row["key"]: row["ssim"] for row in rows} == written.expected["evaluated_ssim"]
    assert {row["status"] for row in rows} == {"ok", "failed"}


def test_a_fuse_job_resumes_and_leaves_what_is_there(
    written: Written, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = json.loads((written.folder / "fused" / "run.json").read_text())["result"]["metrics_version"]
    monkeypatch.setattr(fuse_plan, "METRICS_VERSION", version)
    before = {uri: storage.read_bytes(uri) for uri in storage.list_files(f"{bucket}/fused/pairs")}
    make_pair(tmp_path, "three", size=(40, 32), seed=3)
    upload_pair(tmp_path, bucket)

    outcome = fuse(plan_fuse(fuse_config()))

    assert (outcome.fused_now, outcome.ok, outcome.failed) == (1, 3, 1)
    there = {uri: storage.read_bytes(uri) for uri in storage.list_files(f"{bucket}/fused/pairs")}
    assert before.items() < there.items()
    rows = rows_of(f"{bucket}/fused")
    assert [(row["pair_id"], row["status"]) for row in rows] == [
        ("broken", "failed"), ("night/one", "ok"), ("three", "ok"), ("two", "ok")
    ]  # fmt: skip
    report = storage.read_bytes(f"{bucket}/fused/report.html").decode()
    assert all(row["pair_id"] in report for row in rows)
    assert set(outcome.aggregates) == set(METRICS)


def upload_pair(folder: Path, bucket: str) -> None:
    for file in folder.rglob("*.png"):
        storage.write_bytes(f"{bucket}/archive/{file.relative_to(folder)}", file.read_bytes())
