"""Bytes in and out of folders and object stores, addressed by URI.

A URI is a local path or `s3://bucket/key` (anything fsspec knows works the same way). Stores are
configured by their environment alone (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, ...), so that a URI means
the same on the driver and on every worker and no credential ever travels in a configuration. Every
character of a URI stands for itself: there are no patterns, queries or percent codes.
"""

import os
import posixpath
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, EIO, ENOENT, ETIMEDOUT
from pathlib import Path
from typing import Any

import fsspec
from fsspec import AbstractFileSystem

# Whoever says what a store said needs it.
from pipelines.confidential import without_secrets as without_secrets
from pipelines.web import one_host

# Unbounded connections wedge a stage for ever; ten attempts with backoff ride out about a minute of trouble.
S3_OPTIONS: dict[str, Any] = {
    "config_kwargs": {
        "connect_timeout": 10,
        "read_timeout": 30,
        "max_pool_connections": 32,
        "retries": {"total_max_attempts": 10, "mode": "standard"},
    },
    # More than one connection an object costs a HEAD request before every GET.
    "max_concurrency": 1,
}
# s3fs repeats what botocore has given up on, a read in two loops one inside the other: its usual five rounds
# wait two hours for a store that accepts and says nothing. Two ask again for a body that broke off.
S3_ROUNDS = 2

REMOTE = re.compile(r"(?!(?:file|local)://)[A-Za-z][A-Za-z0-9+.-]*://")
PART = re.compile(r"\.[0-9a-f]{32}\.part")
# s3fs raises these without a number.
NUMBERS: dict[type, int] = {FileNotFoundError: ENOENT, PermissionError: EACCES, TimeoutError: ETIMEDOUT}


def open_store(uri: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system a URI lives on and the path on it."""
    if not is_remote(uri):
        return fsspec.filesystem("file"), absolute(uri)
    if not uri.startswith(("s3://", "s3a://")):
        filesystem, path = fsspec.url_to_fs(uri, **(one_host() if uri.startswith(("http://", "https://")) else {}))
        return filesystem, path
    # Not by url_to_fs, to which `::` in a key means a chain of file systems.
    filesystem = fsspec.filesystem("s3", **S3_OPTIONS)
    filesystem.retries = S3_ROUNDS
    return filesystem, filesystem._strip_protocol(uri)


def is_remote(uri: str) -> bool:
    """Tell whether a URI names an object store rather than a folder of this machine."""
    return REMOTE.match(uri) is not None


def absolute(uri: str) -> str:
    """Make a local path absolute, without its `file://`; leave a remote URI as it is, less its last slash."""
    if is_remote(uri):
        return uri.rstrip("/")
    path = Path(uri.removeprefix("file://").removeprefix("local://")).expanduser()
    return os.path.abspath(path)  # noqa: PTH100  # resolve() would follow links


def join(uri: str, *names: str) -> str:
    """Append names to a URI."""
    return posixpath.join(uri, *names)


def exists(uri: str) -> bool:
    """Tell whether an object, or a folder with something in it, lies at the URI, asking the store afresh."""
    filesystem, path = open_store(uri)
    if not is_remote(uri):
        return Path(path).exists()
    filesystem.invalidate_cache()
    with suppress(FileNotFoundError), _errors_that_name(uri):
        filesystem.info(path)
        return True
    return False


def list_files(uri: str) -> list[str]:
    """List the URIs of all objects below a folder or prefix, at any depth, sorted; empty where there is none.

    An object gives itself. Links to folders are followed. A bucket that is not there is a FileNotFoundError.
    """
    filesystem, path = open_store(uri)
    if not is_remote(uri):
        return sorted(_local_files(path)) if Path(path).is_dir() else [path] * Path(path).exists()
    filesystem.invalidate_cache()
    with _errors_that_name(uri):
        # An empty object whose name ends in a slash is how consoles make a folder.
        paths = [found for found in filesystem.find(path) if not found.endswith("/")]
    return sorted(str(filesystem.unstrip_protocol(found)) for found in paths)


def list_versions(uri: str) -> dict[str, str]:
    """List all objects as list_files does, each with a word that changes whenever the object is put again."""
    if not is_remote(uri):
        return {path: _version_of(path) for path in list_files(uri)}
    filesystem, path = open_store(uri)
    filesystem.invalidate_cache()
    with _errors_that_name(uri):
        found = filesystem.find(path, detail=True)
    return {
        str(filesystem.unstrip_protocol(name)): f"{about.get('size')} {about.get('ETag') or about.get('LastModified')}"
        for name, about in sorted(found.items())
        if not name.endswith("/")
    }


def read_bytes(uri: str) -> bytes:
    """Read one object; raises FileNotFoundError, PermissionError or another OSError, naming the URI."""
    filesystem, path = open_store(uri)
    with _errors_that_name(uri):
        return bytes(filesystem.cat_file(path))


def read_head(uri: str, size: int) -> bytes:
    """Read at most the first `size` bytes of one object; raises as read_bytes does."""
    filesystem, path = open_store(uri)
    with _errors_that_name(uri):
        try:
            return bytes(filesystem.cat_file(path, start=0, end=size))
        except OSError as error:
            if "(InvalidRange)" in str(error.__cause__):  # S3's answer for an empty object
                return b""
            raise


def read_many(uris: list[str]) -> list[bytes | Exception]:
    """Read objects side by side; one that cannot be read gives its exception in its own place."""
    found: dict[str, bytes | Exception] = {}
    paths: dict[AbstractFileSystem, dict[str, str]] = {}
    for uri in uris:
        try:
            filesystem, path = open_store(uri)
            paths.setdefault(filesystem, {})[uri] = path
        except (ValueError, ImportError) as error:  # a scheme fsspec does not know, or has no driver for
            found[uri] = error
    for filesystem, path_of in paths.items():
        # cat() would read `*`, `?` and `[` as patterns.
        answers = filesystem.cat_ranges(list(path_of.values()), None, None, on_error="return")
        for uri, answer in zip(path_of, answers, strict=True):
            found[uri] = _naming(answer, uri) if isinstance(answer, Exception) else bytes(answer)
    return [found[uri] for uri in uris]


def write_bytes(uri: str, data: bytes) -> None:
    """Put one object whole: a reader sees the old bytes or the new ones, never a part."""
    filesystem, path = open_store(uri)
    if is_remote(uri):
        with _errors_that_name(uri):
            filesystem.pipe_file(path, data)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Uniquely named, and skipped by list_files: a process killed here leaves nothing that counts as data.
    part = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(data)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def delete(uri: str) -> None:
    """Delete one object; one that is not there is fine."""
    filesystem, path = open_store(uri)
    with suppress(FileNotFoundError), _errors_that_name(uri):
        filesystem.rm_file(path)


def _version_of(path: str) -> str:
    about = Path(path).stat()
    return f"{about.st_size} {about.st_mtime_ns}"


def _local_files(folder: str, above: frozenset[str] = frozenset()) -> Iterator[str]:
    """Walk a folder; `above` holds the real paths on the way here, so that a link in a circle ends."""
    here = os.path.realpath(folder)
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _local_files(entry.path, above | {here})
            elif not PART.fullmatch(entry.name):
                yield entry.path


@contextmanager
def _errors_that_name(uri: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _naming(error, uri) from error


def _naming(error: Exception, uri: str) -> OSError:
    """Turn what a store's driver raises into an OSError of the same kind that names the URI."""
    if isinstance(error, OSError) and error.filename:
        return error
    number = NUMBERS.get(type(error)) or getattr(error, "errno", None) or EIO
    # What caused it has the store's code (NoSuchBucket); the message beside it may be empty.
    reason = error.__cause__ or getattr(error, "strerror", None) or error
    return OSError(number, without_secrets(str(reason)) or type(error).__name__, uri)
