"""Checkpoints and priors from wherever they lie: presets by name, files, object stores, a model registry."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors.exceptions import RequestError
from pipelines.storage import objects as storage
from pipelines.storage.retry import PATIENCE_PLANNING, waiting_at_most
from upfusion.checkpoint import EMBEDDED, Checkpoint, locate_checkpoint, parse_checkpoint
from upfusion.presets import PRESETS

# ImportError: the driver of a store that is not installed.
UNREACHABLE = (OSError, ImportError)
REGISTERED = "models:/"


@waiting_at_most(PATIENCE_PLANNING)
def read_model(model: str, tracking_uri: str | None = None) -> tuple[Checkpoint, bytes]:
    """Read a checkpoint that ships under the name of its preset, lies in a file, local or in a store, or is registered.

    A registered one is `models:/NAME@ALIAS` or `models:/NAME/VERSION`; `tracking_uri` names its MLflow server, by
    default MLFLOW_TRACKING_URI does. Returns the checkpoint with the bytes of its file. Raises RequestError when there
    is none or it cannot be used.
    """
    uri = locate_checkpoint(model)
    try:
        data = _read_registered(uri, tracking_uri) if uri.startswith(REGISTERED) else storage.read_bytes(uri)
        return parse_checkpoint(data, uri), data
    except RequestError:
        raise
    except (FileNotFoundError, IsADirectoryError) as error:
        raise RequestError(f"no model {model!r}: {_why_there_is_none(model)}") from error
    except UNREACHABLE as error:
        raise RequestError(f"model {model!r} cannot be read: {_said(error)}") from error
    except ValueError as error:
        raise RequestError(f"model {model!r}: {error}") from error


def refuse_existing(uri: str) -> None:
    """Raise RequestError where a file lies already, which might be hours of training."""
    try:
        there = storage.exists(uri)
    except UNREACHABLE as error:
        raise RequestError(f"--out {uri} cannot be used: {_said(error)}") from error
    if there:
        raise RequestError(f"--out {uri} is there already; choose another file or delete it")


def write_model(checkpoint: Checkpoint, uri: str) -> None:
    """Write a checkpoint file where there is none; raises RequestError when that cannot be done."""
    refuse_existing(uri)
    try:
        storage.write_bytes(uri, checkpoint.to_bytes())
    except UNREACHABLE as error:
        raise RequestError(f"--out {uri} cannot be written: {_said(error)}") from error


def read_object(uri: str, option: str) -> bytes:
    """Read one file; raises RequestError, naming the option, when it is not there or cannot be read."""
    try:
        return storage.read_bytes(uri)
    except UNREACHABLE as error:
        raise RequestError(f"{option} {uri} cannot be read: {_said(error)}") from error


@contextmanager
def local_copy(uri: str | None, option: str) -> Iterator[Path | None]:
    """Give the local path of a file or folder, fetched for as long as it is used if it lies in a store.

    Raises RequestError, naming the option, when nothing lies there.
    """
    if uri is None:
        yield None
        return
    if not storage.is_remote(uri):
        path = Path(storage.absolute(uri))
        if not path.exists():
            raise RequestError(f"{option} {uri}: there is no such file or folder")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="upfusion-") as folder:
        top = Path(folder) / Path(uri.rstrip("/")).name
        try:
            files = storage.list_files(uri)
        except UNREACHABLE as error:
            raise RequestError(f"{option} {uri} cannot be read: {_said(error)}") from error
        for file in files:
            below = _path(file).removeprefix(_path(uri)).strip("/")
            # In a store `..` is a name as any other; here it would lead out of the folder.
            if ".." in below.split("/"):
                raise RequestError(f"{option} {uri}: {file} has a part .., which no file here can have")
            target = top / below
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(read_object(file, option))
        if not files:
            raise RequestError(f"{option} {uri}: there is no such file or folder")
        yield top


def _read_registered(uri: str, tracking_uri: str | None) -> bytes:
    from pipelines.tracking.registry import read_registered  # with it comes MLflow

    return read_registered(uri, tracking_uri)


def _path(uri: str) -> str:
    """Return the path on the store: a listing of s3a:// says s3://."""
    return storage.open_store(uri)[1]


def _said(error: Exception) -> str:
    return storage.without_secrets(str(error))


def _why_there_is_none(model: str) -> str:
    shipped = ", ".join(sorted(file.stem for file in EMBEDDED.glob("*.safetensors")))
    if model not in PRESETS:
        return f"neither a preset that ships trained ({shipped}) nor a checkpoint file"
    return (
        f"the preset ships without trained weights. Use one that has them ({shipped}), or make a checkpoint file: "
        "`upfusion train` trains one, `upfusion convert` takes the weights that the authors of UP-Fusion published"
    )
