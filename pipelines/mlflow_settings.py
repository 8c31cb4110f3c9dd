"""How MLflow behaves inside a job: without its running commentary, and without waiting for ever."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

# MLflow's own seven take four minutes to say that nobody answers.
FEW_RETRIES = "3"


def quiet_mlflow() -> None:
    """Keep MLflow's hints off the terminal; call it after mlflow is imported.

    Database migrations and hints about runs are no business of somebody who fuses images.
    """
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


@contextmanager
def few_retries() -> Iterator[None]:
    """Give up soon on a server that does not answer, unless the environment says otherwise."""
    name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    if name in os.environ:
        yield
        return
    os.environ[name] = FEW_RETRIES
    try:
        yield
    finally:
        del os.environ[name]
