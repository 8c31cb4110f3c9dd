"""MLflow without its running commentary."""

import logging
import os


def quiet_mlflow() -> None:
    """Keep MLflow's hints off the terminal; call it after mlflow is imported.

    Database migrations and hints about runs are no business of somebody who fuses images.
    """
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
