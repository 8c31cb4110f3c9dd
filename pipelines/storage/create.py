"""Creating an object that must not exist yet: of several that try at the same moment, one succeeds."""

import os
import uuid
from contextlib import suppress
from errno import EEXIST
from pathlib import Path

import botocore.exceptions

from pipelines.storage.objects import is_remote, open_store, read_bytes
from pipelines.storage.retry import with_retries

REFUSED = {"PreconditionFailed", "ConditionalRequestConflict"}
"""How S3 answers a PUT with `If-None-Match: *` where there is an object, or one is being put."""


def create_bytes(uri: str, data: bytes) -> bool:
    """Write one object if there is none, and tell whether it was written; raises OSError.

    `data` has to be unique to the caller: an object that holds it was written by an attempt whose answer was lost.
    """
    if not is_remote(uri):
        return _create_file(Path(open_store(uri)[1]), data)
    filesystem, path = open_store(uri)

    def put() -> bool:
        try:
            filesystem.pipe_file(path, data, mode="create")
        except OSError as error:
            if _is_there(error):
                return False
            raise
        return True

    if with_retries(uri, put):
        return True
    with suppress(FileNotFoundError):
        return read_bytes(uri) == data
    return False


def _is_there(error: OSError) -> bool:
    cause = error.__cause__
    refused = isinstance(cause, botocore.exceptions.ClientError) and cause.response["Error"].get("Code") in REFUSED
    return refused or isinstance(error, FileExistsError)


def _create_file(target: Path, data: bytes) -> bool:
    """Link a complete file to its name; file systems without links get a file that is empty for a moment."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(data)
        try:
            os.link(part, target)
        except FileExistsError:
            return False
        except OSError:
            return _open_and_write(target, data)
    finally:
        part.unlink(missing_ok=True)
    return True


def _open_and_write(target: Path, data: bytes) -> bool:
    try:
        with target.open("xb") as file:
            file.write(data)
    except OSError as error:
        if error.errno == EEXIST:
            return False
        raise
    return True
