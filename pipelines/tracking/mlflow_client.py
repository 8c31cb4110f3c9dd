"""MLflow's client inside a job: its hints are silenced and its retries limited."""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pipelines.storage import objects as storage

# The first retry is immediate, the others follow after 4, 8, 16 ... seconds: MLflow's default of seven takes four
# minutes to fail if the server is down, and up to two more per retry if the host does not exist.
RETRIES, SECONDS = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"
NO_RETRIES = {RETRIES: "0", SECONDS: "20"}
SHORT = {RETRIES: "3", SECONDS: "20"}
ONE_MINUTE = {RETRIES: "5"}

LONGEST_REASON = 300
_QUOTED = re.compile(r""" "([^"]+)" | '([^']+)' """, re.VERBOSE)


def quiet_mlflow() -> None:
    """Keep MLflow's hints off the terminal; call it after mlflow is imported.

    Database migrations and hints about runs are noise to the user of a job.
    """
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


@contextmanager
def mlflow_retry_limits(when: Mapping[str, str]) -> Iterator[None]:
    """Limit MLflow's retries and timeouts, unless the environment sets them."""
    ours = {name: value for name, value in when.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]


def reason_of(error: Exception) -> str:
    """Return in one line why MLflow failed: the root cause, without the URLs and retries around it."""
    causes = _QUOTED.findall(str(error).partition("Caused by ")[2])
    reason = " ".join(a or b for a, b in causes) or (str(error).strip().splitlines() or [type(error).__name__])[0]
    return storage.redact(reason)[:LONGEST_REASON]
