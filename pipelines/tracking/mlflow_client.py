"""How MLflow behaves inside a job: without its running commentary, and without waiting for ever."""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pipelines.storage import objects as storage

# The first retry follows at once, the others after 4, 8, 16 ... seconds: MLflow's own seven take four minutes to say
# that nobody answers, and each up to two more where a host is not there at all.
RETRIES, SECONDS = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"
AT_ONCE = {RETRIES: "0", SECONDS: "20"}
SOON = {RETRIES: "3", SECONDS: "20"}
IN_A_MINUTE = {RETRIES: "5"}

LONGEST_REASON = 300
_QUOTED = re.compile(r""" "([^"]+)" | '([^']+)' """, re.VERBOSE)


def quiet_mlflow() -> None:
    """Keep MLflow's hints off the terminal; call it after mlflow is imported.

    Database migrations and hints about runs are no business of somebody who fuses images.
    """
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


@contextmanager
def giving_up(when: Mapping[str, str]) -> Iterator[None]:
    """Give up on a server that does not answer, unless the environment says otherwise."""
    ours = {name: value for name, value in when.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]


def reason_of(error: Exception) -> str:
    """Say in one line why MLflow failed: what was at the bottom of it, without what was tried and how often."""
    causes = _QUOTED.findall(str(error).partition("Caused by ")[2])
    said = " ".join(a or b for a, b in causes) or (str(error).strip().splitlines() or [type(error).__name__])[0]
    return storage.without_secrets(said)[:LONGEST_REASON]
