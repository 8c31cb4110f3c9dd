from typing import Any

import pytest
from click.testing import CliRunner, Result

from jobs.command_line import main
from pipelines.train.config import TrainConfig
from pipelines.train.trainer import TrainingStoppedError

Told = list[TrainConfig]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """The configurations that the command plans with; its training stops where it would begin."""
    configs: Told = []

    def stop(*_: Any, **__: Any) -> None:
        raise TrainingStoppedError("NaN at step 3; resume from s3://b/step_2")

    monkeypatch.setattr("pipelines.train.job.plan_train", configs.append)
    monkeypatch.setattr("pipelines.train.job.train", stop)
    return configs


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, ["train", *words])


def test_any_number_of_roots_can_be_trained_on(told: Told) -> None:
    invoke("one=2", "s3://b/two", "three.parquet", "--out", "run", "--workers", "2-4", "--augment", "flip,tone")
    (config,) = told
    assert config.data == ("one=2", "s3://b/two", "three.parquet")
    assert config.worker_range == (2, 4)
    assert config.augment == ("flip", "tone")


def test_a_request_without_data_is_refused_in_a_sentence(told: Told) -> None:
    result = invoke("--out", "run")
    assert result.exit_code == 2
    assert "DATA" in result.stderr
    assert told == []


def test_a_run_that_stops_says_why_and_what_is_left(told: Told) -> None:
    result = invoke("one", "--out", "run")
    assert result.exit_code == 1
    assert "NaN at step 3; resume from s3://b/step_2" in result.stderr
    assert "rerun" not in result.stderr
    assert "Traceback" not in result.stderr
    assert len(told) == 1
