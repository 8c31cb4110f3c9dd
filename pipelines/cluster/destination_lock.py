"""The lock that a job holds on its output folder."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from pipelines.cluster.environment import submitted
from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage
from pipelines.storage.lock import Lock, locked

SHARD_PATIENCE = 120.0
"""Seconds that the shards of a DEST wait for each other where they agree on their settings."""


@contextmanager
def own_destination(
    uri: str, kind: str, on_wait: Callable[[str], None] | None = None, *, patience: float = 0.0
) -> Iterator[Lock]:
    """Hold the lock of `--out` during a `with` block; `kind` names this job in the messages of others (`fuse job`).

    Raises UsageError if another job that is alive holds it, or if the folder cannot be written.
    """
    ray_job = submitted().get("metadata", {}).get("job_submission_id")
    name = f"{kind} (Ray job {ray_job})" if ray_job else kind
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(locked(uri, name, on_wait, patience=patience))
        except OSError as error:
            raise UsageError(f"--out {uri} cannot be used: {storage.redact(str(error))}") from error
        yield lock
