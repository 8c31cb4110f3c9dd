"""Reading checkpoints and priors: presets by name, files, object stores, the model registry."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage
from pipelines.storage.retry import RETRY_SECONDS_PLANNING, retrying_at_most
from upfusion.checkpoint import EMBEDDED, Checkpoint, locate_checkpoint, parse_checkpoint
from upfusion.presets import PRESETS

# ImportError: the driver of the store is not installed.
UNREACHABLE = (OSError, ImportError)
REGISTERED = "models:/"


@retrying_at_most(RETRY_SECONDS_PLANNING)
def read_model(model: str, tracking_uri: str | None = None) -> tuple[Checkpoint, bytes]:
    """Read a checkpoint: one that ships, by the name of its preset; a file, local or in a store; or a registered one.

    A registered one is `models:/NAME@ALIAS` or `models:/NAME/VERSION`; `tracking_uri` is its MLflow server, by
    default MLFLOW_TRACKING_URI. Returns the checkpoint with the bytes of its file. Raises UsageError if there
    is none or it cannot be used.
    """
    uri = locate_checkpoint(model)
    try:
        data = _read_registered(uri, tracking_uri) if uri.startswith(REGISTERED) else storage.read_bytes(uri)
        return parse_checkpoint(data, uri), data
    except UsageError:
        raise
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UsageError(f"no model {model!r}: {_why_there_is_none(model)}") from error
    except UNREACHABLE as error:
        raise UsageError(f"model {model!r} cannot be read: {_said(error)}") from error
    except ValueError as error:
        raise UsageError(f"model {model!r}: {error}") from error


def refuse_existing(uri: str) -> None:
    """Raise UsageError if the file exists: it might be hours of training."""
    try:
        there = storage.exists(uri)
    except UNREACHABLE as error:
        raise UsageError(f"--out {uri} cannot be used: {_said(error)}") from error
    if there:
        raise UsageError(f"--out {uri} already exists; choose another file or delete it")


def write_model(checkpoint: Checkpoint, uri: str) -> None:
    """Write a checkpoint file, never over an existing one; raises UsageError if it cannot be written."""
    refuse_existing(uri)
    write_bytes(uri, checkpoint.to_bytes())


def write_bytes(uri: str, data: bytes) -> None:
    """Write the file --out; raises UsageError if it cannot be written."""
    try:
        storage.write_bytes(uri, data)
    except UNREACHABLE as error:
        raise UsageError(f"--out {uri} cannot be written: {_said(error)}") from error


def read_object(uri: str, option: str) -> bytes:
    """Read one file; raises UsageError, naming the option, if it does not exist or cannot be read."""
    try:
        return storage.read_bytes(uri)
    except UNREACHABLE as error:
        raise UsageError(f"{option} {uri} cannot be read: {_said(error)}") from error


@contextmanager
def local_copy(uri: str | None, option: str) -> Iterator[Path | None]:
    """Yield the local path of a file or folder; one in a store is downloaded to a temporary folder.

    Raises UsageError, naming the option, if it does not exist.
    """
    if uri is None:
        yield None
        return
    if not storage.is_remote(uri):
        path = Path(storage.absolute(uri))
        if not path.exists():
            raise UsageError(f"{option} {uri}: no such file or folder")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="upfusion-") as folder:
        top = Path(folder) / Path(uri.rstrip("/")).name
        try:
            files = storage.list_files(uri)
        except UNREACHABLE as error:
            raise UsageError(f"{option} {uri} cannot be read: {_said(error)}") from error
        for file in files:
            below = _path(file).removeprefix(_path(uri)).strip("/")
            # In a store `..` is an ordinary name; on disk it would lead out of the folder.
            if ".." in below.split("/"):
                raise UsageError(f"{option} {uri}: {file} has a part .., which a local path cannot have")
            target = top / below
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(read_object(file, option))
        if not files:
            raise UsageError(f"{option} {uri}: no such file or folder")
        yield top


def _read_registered(uri: str, tracking_uri: str | None) -> bytes:
    from pipelines.tracking.registry import read_registered  # imports MLflow

    return read_registered(uri, tracking_uri)


def _path(uri: str) -> str:
    """Return the path on the store: a listing of s3a:// yields s3:// URIs."""
    return storage.open_store(uri)[1]


def _said(error: Exception) -> str:
    return storage.redact(str(error))


def _why_there_is_none(model: str) -> str:
    shipped = ", ".join(sorted(file.stem for file in EMBEDDED.glob("*.safetensors")))
    if model not in PRESETS:
        return f"neither a preset that ships trained ({shipped}) nor a checkpoint file"
    return (
        f"the preset ships without trained weights. Use one that has them ({shipped}), or make a checkpoint file: "
        "`upfusion train` trains one, `upfusion convert` takes the weights that the authors of UP-Fusion published"
    )
