"""Paths that all nodes of a cluster see: object stores, and folders of one name on all of them."""

from pathlib import Path

from pipelines.cluster.environment import is_remote
from pipelines.config.base import JobConfig
from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage


def check_shared_paths(config: JobConfig, *, remote: bool | None = None) -> None:
    """Raise UsageError for a path of a configuration that other machines would look for elsewhere.

    `remote` tells whether there are others; by default the environment does.
    """
    if not (is_remote() if remote is None else remote):
        return
    for name, place in config.shared_paths():
        if not storage.is_remote(place) and not Path(place.removeprefix("file://")).is_absolute():
            raise UsageError(
                f"{name} {place!r} is a different folder on every machine of a cluster. Use an object store "
                "(s3://...), or the absolute path of a folder that all of them share."
            )
