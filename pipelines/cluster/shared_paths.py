"""Places that all machines of a cluster see: object stores, and folders of one name on all of them."""

from pathlib import Path

from pipelines.cluster.ray_cluster import is_remote
from pipelines.config.base import JobConfig
from pipelines.errors.exceptions import RequestError
from pipelines.evaluate.config import EvaluationSettings
from pipelines.evaluate.sets import place_of
from pipelines.fuse.config import FuseConfig
from pipelines.storage import objects as storage
from pipelines.train.config import TrainConfig


def check_shared(config: JobConfig, *, remote: bool | None = None) -> None:
    """Raise RequestError for a place that other machines would look for elsewhere.

    `remote` tells whether there are others; by default the environment does.
    """
    if not (is_remote() if remote is None else remote):
        return
    for name, place in _places(config):
        if not storage.is_remote(place) and not Path(place.removeprefix("file://")).is_absolute():
            raise RequestError(
                f"{name} {place!r} is another folder on every machine of a cluster. Give an object store (s3://...), "
                "or the whole path of a folder that all of them share."
            )


def _places(config: JobConfig) -> list[tuple[str, str]]:
    """List what a job reads on its workers, and where it writes, as (option, place)."""
    if isinstance(config, FuseConfig):
        return [("SOURCE", config.source), ("--out", config.out)]
    if isinstance(config, TrainConfig):
        # A weight, as in ROOT=2, stands behind the place.
        return [
            *(("DATA", given) for given in config.data),
            *([("--val", config.val)] if config.val else []),
            ("--out", config.out),
        ]
    assert isinstance(config, EvaluationSettings), type(config)
    return [*(("SET", place_of(given)) for given in config.sets), ("--out", config.out)]
