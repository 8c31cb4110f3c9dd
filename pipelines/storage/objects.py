"""Bytes in and out of folders and object stores, addressed by URI.

A URI is a local path or `s3://bucket/key` (anything fsspec knows works the same way). Stores are
configured by their environment alone (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, ...), so that a URI means
the same on the driver and on every worker and no credential ever travels in a configuration. Every
character of a URI stands for itself: there are no patterns, queries or percent codes.
"""

import io
import os
import posixpath
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EFBIG, EINVAL
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import fsspec
import tenacity
from fsspec import AbstractFileSystem

# Whoever says what a store said needs it.
from pipelines.errors.redaction import without_secrets as without_secrets
from pipelines.storage.http import one_host
from pipelines.storage.retry import ask, is_passing, naming, patient

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Unbounded connections wedge a stage for ever.
S3_OPTIONS: dict[str, Any] = {
    "config_kwargs": {
        "connect_timeout": 10,
        "read_timeout": 30,
        "max_pool_connections": 32,
        # For one page of a long listing. What lasts longer is waited for here (PATIENCE): botocore stops all retries
        # of a process after a hundred failures, a few seconds into an outage.
        "retries": {"total_max_attempts": 3, "mode": "standard"},
    },
    # More than one connection an object costs a HEAD request before every GET.
    "max_concurrency": 1,
}
# s3fs would repeat in a third loop what the other two have given up on.
S3_ROUNDS = 1

REMOTE = re.compile(r"(?!(?:file|local)://)[A-Za-z][A-Za-z0-9+.-]*://")
PART = re.compile(r"\.[0-9a-f]{32}\.part")
# S3's answer where a range of an empty object is asked for.
EMPTY_OBJECT = "(InvalidRange)"


class TooLargeError(OSError):
    """An object has more bytes than the reader wants."""


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
    path = uri.removeprefix("file://").removeprefix("local://")
    # resolve() would follow links, and pathlib takes as long as reading a small file.
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111


def join(uri: str, *names: str) -> str:
    """Append names to a URI."""
    return posixpath.join(uri, *names)


def exists(uri: str) -> bool:
    """Tell whether an object, or a folder with something in it, lies at the URI, asking the store afresh."""
    filesystem, path = open_store(uri)
    if not is_remote(uri):
        return Path(path).exists()
    filesystem.invalidate_cache()
    with suppress(FileNotFoundError):
        ask(uri, lambda: filesystem.info(path))
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
    # An empty object whose name ends in a slash is how consoles make a folder.
    paths = [found for found in ask(uri, lambda: filesystem.find(path)) if not found.endswith("/")]
    return sorted(str(filesystem.unstrip_protocol(found)) for found in paths)


def list_versions(uri: str) -> dict[str, str]:
    """List all objects as list_files does, each with a word that changes whenever the object is put again."""
    if not is_remote(uri):
        return {path: _version_of(path) for path in list_files(uri)}
    filesystem, path = open_store(uri)
    filesystem.invalidate_cache()
    found = ask(uri, lambda: filesystem.find(path, detail=True))
    return {
        str(filesystem.unstrip_protocol(name)): f"{about.get('size')} {about.get('ETag') or about.get('LastModified')}"
        for name, about in sorted(found.items())
        if not name.endswith("/")
    }


def read_bytes(uri: str) -> bytes:
    """Read one object; raises FileNotFoundError, PermissionError or another OSError, naming the URI."""
    filesystem, path = open_store(uri)
    return ask(uri, lambda: bytes(filesystem.cat_file(path)))


def read_head(uri: str, size: int) -> bytes:
    """Read at most the first `size` bytes of one object; raises as read_bytes does."""
    filesystem, path = open_store(uri)

    def read() -> bytes:
        if not is_remote(uri):
            _size_unless_device(uri, path)
        try:
            return bytes(filesystem.cat_file(path, start=0, end=size))
        except OSError as error:
            if EMPTY_OBJECT in str(error.__cause__):
                return b""
            raise

    return ask(uri, read)


@contextmanager
def open_to_read(uri: str, block: int | None = None) -> Iterator[IO[bytes]]:
    """Open one object to read parts of it, only those that are asked for; raises as read_bytes does.

    `block` is how many bytes a store is asked for at once, by default as many as suit its driver (50 MiB for S3).
    """
    filesystem, path = open_store(uri)
    options = {} if block is None else {"block_size": block}
    with ask(uri, lambda: filesystem.open(path, "rb", **options)) as file:
        yield io.BufferedReader(_PatientFile(uri, file)) if is_remote(uri) else file


def read_many(uris: list[str], limit: int | None = None) -> list[bytes | Exception]:
    """Read objects side by side; one that cannot be read gives its exception in its own place.

    At most one byte beyond `limit` is read of each; what is longer gives a TooLargeError.
    """
    found: dict[str, bytes | Exception] = {}

    def ask_again() -> bool:
        """Ask for what was not asked for yet, or might answer now; return whether something still might."""
        found.update(_read_once([uri for uri in uris if uri not in found or is_passing(found[uri])], limit))
        return any(map(is_passing, found.values()))

    patient(retry=tenacity.retry_if_result(bool), retry_error_callback=lambda _: False)(ask_again)
    return [found[uri] for uri in uris]


def _read_once(uris: list[str], limit: int | None) -> dict[str, bytes | Exception]:
    found: dict[str, bytes | Exception] = {}
    paths: dict[AbstractFileSystem, dict[str, str]] = {}
    for uri in uris:
        if not is_remote(uri):
            found[uri] = _checked(_read_local(uri, limit), uri, limit)
            continue
        try:
            filesystem, path = open_store(uri)
            paths.setdefault(filesystem, {})[uri] = path
        except (ValueError, ImportError) as error:  # a scheme that fsspec does not know or has no driver for
            found[uri] = error
    for filesystem, path_of in paths.items():
        # cat() would read `*`, `?` and `[` as patterns.
        first, last = (None, None) if limit is None else (0, limit + 1)
        answers = filesystem.cat_ranges(list(path_of.values()), first, last, on_error="return")
        for uri, answer in zip(path_of, answers, strict=True):
            found[uri] = _checked(answer, uri, limit)
    return found


def _read_local(uri: str, limit: int | None) -> bytes | Exception:
    """Read a file of this machine, or return why not; by way of fsspec a small image takes half as long as decoding."""
    path = absolute(uri)
    try:
        size = _size_unless_device(uri, path)
        with open(path, "rb") as file:  # noqa: PTH123  # as in absolute()
            # Room for so many bytes is made before the first is read.
            data = file.read(size + 1 if limit is None else min(size, limit) + 1)
            return data if len(data) <= size else data + file.read(-1 if limit is None else limit + 1 - len(data))
    except Exception as error:  # noqa: BLE001  # memory may end, and a name may be none
        return error


def write_bytes(uri: str, data: bytes) -> None:
    """Put one object whole: a reader sees the old bytes or the new ones, never a part."""
    filesystem, path = open_store(uri)
    if is_remote(uri):
        ask(uri, lambda: filesystem.pipe_file(path, data))
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


def move_here(uri: str, file: Path) -> None:
    """Put a file of this machine as one object, whole as write_bytes does, without holding it in memory.

    The file may be gone afterwards.
    """
    filesystem, path = open_store(uri)
    if is_remote(uri):
        ask(uri, lambda: filesystem.put_file(str(file), path))
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        shutil.move(file, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def delete(uri: str) -> None:
    """Delete one object; one that is not there is fine."""
    filesystem, path = open_store(uri)
    with suppress(FileNotFoundError):
        ask(uri, lambda: filesystem.rm_file(path))


class _PatientFile(io.RawIOBase):
    """A file of a store, each of whose reads is repeated as whole objects are."""

    def __init__(self, uri: str, file: IO[bytes]) -> None:
        self._uri, self._file, self._at = uri, file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = self._file.seek(offset, whence)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: "WriteableBuffer") -> int:
        into = memoryview(buffer)
        found = ask(self._uri, lambda: self._read_here(len(into)))
        into[: len(found)] = found
        self._at += len(found)
        return len(found)

    def _read_here(self, size: int) -> bytes:
        self._file.seek(self._at)
        return self._file.read(size)


def _checked(answer: bytes | Exception, uri: str, limit: int | None) -> bytes | Exception:
    if isinstance(answer, Exception):
        error = naming(answer, uri)
        return b"" if limit is not None and EMPTY_OBJECT in str(error) else error
    if limit is not None and len(answer) > limit:
        return TooLargeError(EFBIG, f"it has more than {limit} bytes", uri)
    return bytes(answer)


def _size_unless_device(uri: str, path: str) -> int:
    """Return the size of a file, 0 of what is not there; a named pipe, which can be waited on for ever, is refused."""
    try:
        about = os.stat(path)  # noqa: PTH116  # pathlib takes as long as reading a small file
    except OSError:  # whoever reads it says what is wrong
        return 0
    if not (stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)):
        raise OSError(EINVAL, "it is a device or a named pipe", uri)
    return about.st_size


def _version_of(path: str) -> str:
    try:
        about = Path(path).stat()
    except OSError:  # a link to nowhere, which whoever reads it says
        return "unreadable"
    return f"{about.st_size} {about.st_mtime_ns}"


def _local_files(folder: str, above: frozenset[str] = frozenset()) -> Iterator[str]:
    """Walk a folder; `above` holds the real paths on the way here, so that a link in a circle ends."""
    here = os.path.realpath(folder)
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_folder(entry):
                yield from _local_files(entry.path, above | {here})
            elif not PART.fullmatch(entry.name):
                yield entry.path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # a link that leads to itself
        return entry.is_dir()
    return False
