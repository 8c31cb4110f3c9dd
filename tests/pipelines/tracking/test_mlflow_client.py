"""What MLflow says of a server that it cannot reach, and for how long it tries."""

import os

import pytest

from pipelines.tracking.mlflow_client import NO_RETRIES, ONE_MINUTE, RETRIES, SECONDS, mlflow_retry_limits, reason_of

REQUEST = (
    "API request to http://m:1/api failed with exception HTTPConnectionPool(host='m', port=1): Max retries exceeded"
)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            f"""{REQUEST} (Caused by NewConnectionError("HTTPConnection(host='m', port=1): [Errno 111] refused"))""",
            "HTTPConnection(host='m', port=1): [Errno 111] refused",
        ),
        (
            f"{REQUEST} (Caused by ProtocolError('Connection aborted.', ResetError(104, 'Connection reset')))",
            "Connection aborted. Connection reset",
        ),
        (f"{REQUEST} (Caused by ResponseError('too many 503 error responses'))", "too many 503 error responses"),
        ("INVALID: no such experiment\nTraceback", "INVALID: no such experiment"),
        ("", "ValueError"),
    ],
)
def test_what_is_at_the_bottom_of_it_is_said(said: str, reason: str) -> None:
    assert reason_of(ValueError(said)) == reason


def test_a_reason_is_short_and_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a-secret-word")
    said = reason_of(ValueError("a-secret-word " + "x" * 1000))
    assert said.startswith("*** xxx")
    assert len(said) == 300


def test_the_environment_says_how_long_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RETRIES, raising=False)
    monkeypatch.setenv(SECONDS, "7")
    with mlflow_retry_limits(NO_RETRIES):
        assert (os.environ[RETRIES], os.environ[SECONDS]) == ("0", "7")
    with mlflow_retry_limits(ONE_MINUTE):
        assert os.environ[RETRIES] == "5"
    assert RETRIES not in os.environ
    assert os.environ[SECONDS] == "7"
