"""What the controller of a training run passes on, with MLflow's SQLite store and without a cluster."""

import mlflow
import pytest

from infra.stack.object_store import free_port
from pipelines.train.callback import MLflowTarget, Reporter


class Board(list):
    """What the driver hears."""

    put = list.append


@pytest.fixture(scope="module")
def client(tmp_path_factory, tracking_in) -> mlflow.MlflowClient:
    client = mlflow.MlflowClient(tracking_in(tmp_path_factory.mktemp("mlflow")))
    client.create_experiment("training")
    return client


@pytest.fixture
def run_id(client) -> str:
    experiment = client.get_experiment_by_name("training")
    return client.create_run(experiment.experiment_id).info.run_id


def entry(step: int) -> dict:
    return {"step": step, "loss": 1.0 / step, "best": None}


def steps_of(client, run_id) -> list[int]:
    return [metric.step for metric in client.get_metric_history(run_id, "loss")]


def test_every_entry_of_a_report_is_told_and_logged(client, run_id):
    board = Board()
    reporter = Reporter(board, "nowhere", MLflowTarget(client.tracking_uri, run_id))
    reporter.after_report(None, [{"log": [entry(1), entry(2)]}, {"log": []}], None)
    assert [told["step"] for told in board] == [1, 2]
    assert steps_of(client, run_id) == [1, 2]


def test_steps_that_are_taken_again_are_logged_once(client, run_id):
    MLflowTarget(client.tracking_uri, run_id).log(entry(3), None)
    restarted = MLflowTarget(client.tracking_uri, run_id)
    for step in (3, 4, 4):
        restarted.log(entry(step), None)
    assert steps_of(client, run_id) == [3, 4]


def test_a_step_that_is_missing_is_filled_in(client, run_id):
    for steps in ((1, 3), (1, 2, 3, 4)):
        target = MLflowTarget(client.tracking_uri, run_id)
        for step in steps:
            target.log(entry(step))
    assert sorted(steps_of(client, run_id)) == [1, 2, 3, 4]


def test_what_a_server_that_is_away_did_not_take_is_logged_later(client, run_id, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    board = Board()
    target = MLflowTarget(f"http://user:hidden-password@127.0.0.1:{free_port()}", run_id)
    reporter = Reporter(board, "nowhere", target)
    reporter.after_report(None, [{"log": [entry(1)]}], None)
    assert "step 1" in board[0]["warning"]
    assert "Connection refused" in board[0]["warning"]
    assert "hidden-password" not in board[0]["warning"]
    target.tracking_uri = client.tracking_uri
    reporter.after_report(None, [{"log": [entry(2)]}], None)
    assert "warning" not in board[1]
    assert steps_of(client, run_id) == [1, 2]


def test_a_run_that_diverged_and_lost_workers_are_told_without_secrets(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-secret")
    board = Board()
    reporter = Reporter(board, "nowhere", None)
    reporter.after_report(None, [{"log": [], "diverged": "NaN at step 7"}], None)
    reporter.after_exception(None, {3: OSError("Traceback ...\nno access with hidden-secret")})
    assert board == [
        {"diverged": "NaN at step 7"},
        {"lost": "worker 3: OSError: no access with ***"},
    ]
