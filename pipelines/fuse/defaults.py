"""Defaults of a fuse job that depend on where DEST is: what the command line fills in."""

import os
from pathlib import Path
from typing import Any

from pipelines.cluster.environment import is_remote
from pipelines.errors.exceptions import UsageError
from pipelines.fuse.config import FuseConfig
from pipelines.storage import objects as storage
from pipelines.storage.ownership import read_claim

REGISTERED = "models:/"


def complete(config: FuseConfig) -> FuseConfig:
    """Fill in --images and --tracking-uri where they were not given.

    Images are kept as DEST was made with. A new one gets files, or keeps them inside the rows in an object store, where
    each file would be a request. A run on this machine is tracked in an SQLite file beside DEST, unless MLflow is
    configured, or the working directory has one already. Raises UsageError if DEST cannot be read.
    """
    filled: dict[str, Any] = {}
    if "images" not in config.model_fields_set:
        filled["images"] = _images(config)
    if database := _database(config):
        filled["tracking_uri"] = database
    return config.model_copy(update=filled)


def _images(config: FuseConfig) -> str:
    try:
        claims = (read_claim(storage.absolute(uri)) for uri in (config.out, config.destination))
        there = next((claim for claim in claims if claim is not None), None)
    except OSError as error:
        raise UsageError(f"--out cannot be used: {storage.redact(str(error))}") from error
    if there is not None:
        return str(there["result"].get("images", "parquet"))
    return "parquet" if storage.is_remote(config.out) else "files"


def _database(config: FuseConfig) -> str | None:
    """Return an SQLite database beside DEST; None where MLflow's own choice stays."""
    configured = config.no_tracking or config.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or is_remote()
    # A registered model is in the database that the run belongs to as well.
    if configured or config.model.startswith(REGISTERED) or storage.is_remote(config.out):
        return None
    if Path("mlflow.db").exists():
        return None
    return f"sqlite:///{Path(storage.absolute(config.out)).parent}/mlflow.db"
