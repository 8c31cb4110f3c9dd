"""Bytes in and out of folders and object stores, addressed by URI.

A URI is a local path or `s3://bucket/key` (anything fsspec knows works the same way). Every character of a URI is
literal: no patterns, queries or percent-encoding. What reads also takes the URI of a file inside a file (parts.py).
"""

import io
import os
import posixpath
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EFBIG, EINVAL, EIO
from pathlib import Path
from typing import IO

import tenacity
from fsspec import AbstractFileSystem

# Errors of a store are redacted before they are logged.
from pipelines.errors.redaction import redact as redact
from pipelines.storage.durable import flush_files, put_file
from pipelines.storage.local_files import local_files
from pipelines.storage.parts import Cell, Member, member_uri, parse_part
from pipelines.storage.retry import is_empty_range, is_transient, retrying, to_os_error, with_retries
from pipelines.storage.retrying_file import RetryingFile
from pipelines.storage.stores import HTTP as HTTP
from pipelines.storage.stores import absolute as absolute
from pipelines.storage.stores import find_objects, to_uri
from pipelines.storage.stores import is_remote as is_remote
from pipelines.storage.stores import open_store as open_store

# What drivers call the version of an object.
VERSIONS = ("ETag", "etag", "LastModified", "last_modified")
# Read-ahead in a Parquet file whose images are read one column after the other.
CELLS_AHEAD = 1 << 20


class TooLargeError(OSError):
    """An object is larger than the reader's limit."""


def join(uri: str, *names: str) -> str:
    """Append names to a URI."""
    return posixpath.join(uri, *names)


def exists(uri: str) -> bool:
    """Tell whether an object or a non-empty folder exists at the URI, bypassing caches."""
    filesystem, path = open_store(uri)
    if not is_remote(uri):
        return Path(path).exists()
    filesystem.invalidate_cache()
    with suppress(FileNotFoundError):
        with_retries(uri, lambda: filesystem.info(path))
        return True
    return False


def list_files(uri: str) -> list[str]:
    """List the URIs of all objects below a folder or prefix, at any depth, sorted; an empty list if there are none.

    The URI of an object gives that object. Links to folders are followed. Raises FileNotFoundError without a bucket.
    """
    filesystem, path = open_store(uri)
    if not is_remote(uri):
        return sorted(local_files(path)) if Path(path).is_dir() else [path] * Path(path).exists()
    filesystem.invalidate_cache()
    # Consoles create a folder as an empty object with a trailing slash.
    paths = [found for found in with_retries(uri, lambda: find_objects(filesystem, path)) if not found.endswith("/")]
    return sorted(to_uri(filesystem, found, uri) for found in paths)


def list_versions(uri: str) -> dict[str, str]:
    """List all objects as list_files does, each with a version string that changes when the object is rewritten."""
    if not is_remote(uri):
        return {path: _version_of(path) for path in list_files(uri)}
    filesystem, path = open_store(uri)
    filesystem.invalidate_cache()
    found = with_retries(uri, lambda: find_objects(filesystem, path, detail=True))
    return {
        to_uri(
            filesystem, name, uri
        ): f"{about.get('size')} {next((about[key] for key in VERSIONS if key in about), None)}"
        for name, about in sorted(found.items())
        if not name.endswith("/")
    }


def read_bytes(uri: str) -> bytes:
    """Read one object; raises FileNotFoundError, PermissionError or another OSError, naming the URI."""
    if parse_part(uri):
        return _read_part(uri)
    filesystem, path = open_store(uri)
    return with_retries(uri, lambda: bytes(filesystem.cat_file(path)))


def read_head(uri: str, size: int) -> bytes:
    """Read at most the first `size` bytes of one object; raises as read_bytes does."""
    if part := parse_part(uri):
        if isinstance(part, Member):
            uri = member_uri(part.file, part.start, min(size, part.end - part.start), "")
        return _read_part(uri)[:size]
    filesystem, path = open_store(uri)

    def read() -> bytes:
        if not is_remote(uri):
            _size_unless_device(uri, path)
        try:
            return bytes(filesystem.cat_file(path, start=0, end=size))
        except Exception as error:
            if is_empty_range(error):
                return b""
            raise

    return with_retries(uri, read)


@contextmanager
def open_to_read(uri: str, block: int | None = None) -> Iterator[IO[bytes]]:
    """Open one object for random access, fetching only what is read; raises as read_bytes does.

    `block` is the read-ahead in bytes, by default that of the store's driver (50 MiB for S3).
    """
    filesystem, path = open_store(uri)
    options = {} if block is None else {"block_size": block}
    with with_retries(uri, lambda: filesystem.open(path, "rb", **options)) as file:
        yield io.BufferedReader(RetryingFile(uri, file)) if is_remote(uri) else file


def read_many(uris: list[str], limit: int | None = None) -> list[bytes | Exception]:
    """Read objects concurrently; one that cannot be read gives its exception instead of bytes.

    At most one byte beyond `limit` is read of each; a longer object gives a TooLargeError.
    """
    found: dict[str, bytes | Exception] = {}

    def read_missing() -> bool:
        """Read what is missing or failed transiently; return whether transient failures remain."""
        found.update(_read_once([uri for uri in uris if uri not in found or is_transient(found[uri])], limit))
        return any(map(is_transient, found.values()))

    retrying(retry=tenacity.retry_if_result(bool), retry_error_callback=lambda _: False)(read_missing)
    return [found[uri] for uri in uris]


def _read_once(uris: list[str], limit: int | None) -> dict[str, bytes | Exception]:
    found: dict[str, bytes | Exception] = {}
    cells: dict[str, Cell] = {}
    ranges: dict[AbstractFileSystem, dict[str, tuple[str, int | None, int | None]]] = {}
    for uri in uris:
        part = parse_part(uri)
        if isinstance(part, Cell):
            cells[uri] = part
            continue
        if isinstance(part, Member) and limit is not None and part.end - part.start > limit:
            found[uri] = _too_large(uri, limit)
            continue
        if isinstance(part, Member) and part.end <= part.start:  # stores refuse an empty range
            found[uri] = b""
            continue
        first, last = (part.start, part.end) if part else ((None, None) if limit is None else (0, limit + 1))
        if not is_remote(uri):
            found[uri] = _checked(_read_local_range(part) if part else _read_local(uri, limit), uri, limit)
            continue
        try:
            filesystem, path = open_store(part.file if part else uri)
            ranges.setdefault(filesystem, {})[uri] = path, first, last
        except (ValueError, ImportError) as error:  # a scheme that is unknown to fsspec or has no driver installed
            found[uri] = error
    for filesystem, wanted in ranges.items():
        # cat() would read `*`, `?` and `[` as patterns.
        paths, starts, ends = map(list, zip(*wanted.values(), strict=True))
        answers = filesystem.cat_ranges(paths, starts, ends, on_error="return")
        for uri, answer in zip(wanted, answers, strict=True):
            found[uri] = _checked(answer, uri, limit)
    return found | _read_cells(cells, limit)


def _read_cells(cells: dict[str, Cell], limit: int | None) -> dict[str, bytes | Exception]:
    if not cells:
        return {}
    from pipelines.storage.cells import read_cells  # imports pyarrow

    values = read_cells(cells.values(), lambda file: open_to_read(file, CELLS_AHEAD), _version_if_local)
    return {uri: _checked(values[cell], uri, limit) for uri, cell in cells.items()}


def _read_local_range(part: Member) -> bytes | Exception:
    try:
        with open(absolute(part.file), "rb") as file:  # noqa: PTH123  # as in absolute()
            file.seek(part.start)
            return file.read(part.end - part.start)
    except Exception as error:  # noqa: BLE001  # as in _read_local
        return error


def _read_part(uri: str) -> bytes:
    (found,) = read_many([uri])
    if isinstance(found, Exception):
        raise found
    return found


def _read_local(uri: str, limit: int | None) -> bytes | Exception:
    """Read a local file, or return the error; through fsspec a small image takes half as long as decoding it."""
    path = absolute(uri)
    try:
        size = _size_unless_device(uri, path)
        with open(path, "rb") as file:  # noqa: PTH123  # as in absolute()
            # read() allocates this many bytes up front.
            data = file.read(size + 1 if limit is None else min(size, limit) + 1)
            return data if len(data) <= size else data + file.read(-1 if limit is None else limit + 1 - len(data))
    except Exception as error:  # noqa: BLE001  # memory may end, and a name may be none
        return error


def write_bytes(uri: str, data: bytes, *, flush: bool = True) -> None:
    """Write one object atomically: a reader sees the old bytes or the new ones, never a part.

    Without `flush`, a local file may be empty after a power failure, until `flush` is called.
    """
    filesystem, path = open_store(uri)
    if is_remote(uri):
        with_retries(uri, lambda: filesystem.pipe_file(path, data))
        return
    put_file(Path(path), lambda part: part.write_bytes(data), flush=flush)


def flush(uris: list[str]) -> None:
    """Make objects that were written with `flush=False` survive a power failure."""
    flush_files(absolute(uri) for uri in uris if not is_remote(uri))


def move_here(uri: str, file: Path) -> None:
    """Move a local file to a URI, atomically as write_bytes does, without holding it in memory.

    The file may no longer exist afterwards.
    """
    filesystem, path = open_store(uri)
    if is_remote(uri):
        with_retries(uri, lambda: filesystem.put_file(str(file), path))
        return
    put_file(Path(path), lambda part: shutil.move(file, part))


def set_aside(uri: str, folder: str) -> str:
    """Move one object into a folder, and return its new URI."""
    place = join(folder, uri.rpartition("/")[2])
    write_bytes(place, read_bytes(uri))
    delete(uri)
    return place


def delete(uri: str) -> None:
    """Delete one object; a missing one is fine."""
    filesystem, path = open_store(uri)
    with suppress(FileNotFoundError):
        with_retries(uri, lambda: filesystem.rm_file(path))


def _checked(answer: bytes | Exception, uri: str, limit: int | None) -> bytes | Exception:
    if isinstance(answer, Exception):
        return b"" if limit is not None and is_empty_range(answer) else to_os_error(answer, uri)
    if limit is not None and len(answer) > limit:
        return _too_large(uri, limit)
    part = parse_part(uri)
    if isinstance(part, Member) and len(answer) != part.end - part.start:
        return OSError(EIO, f"the tar ends early: {len(answer)} of {part.end - part.start} bytes are there", uri)
    return bytes(answer)


def _too_large(uri: str, limit: int) -> TooLargeError:
    return TooLargeError(EFBIG, f"it has more than {limit} bytes", uri)


def _size_unless_device(uri: str, path: str) -> int:
    """Return the size of a file, 0 if it is missing; a named pipe, which could block for ever, is refused."""
    try:
        about = os.stat(path)  # noqa: PTH116  # pathlib takes as long as reading a small file
    except OSError:  # reading it reports the error
        return 0
    if not (stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)):
        raise OSError(EINVAL, "it is a device or a named pipe", uri)
    return about.st_size


def _version_if_local(uri: str) -> str:
    """Tell versions of a file apart; drivers of stores refuse to read on in an object that was replaced."""
    return "" if is_remote(uri) else _version_of(absolute(uri))


def _version_of(path: str) -> str:
    try:
        about = Path(path).stat()
    except OSError:  # a dangling link: reading it reports the error
        return "unreadable"
    return f"{about.st_size} {about.st_mtime_ns}"
