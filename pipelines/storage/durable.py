"""Local files that survive a power failure: their bytes reach the disk before their names do."""

import os
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FLUSHES_AT_ONCE = 16
"""A file system batches concurrent flushes: 6 ms per file of 200 kB one by one, 3 ms concurrently."""


def put_file(target: Path, fill: Callable[[Path], object], *, flush: bool = True) -> None:
    """Write a file atomically: a reader sees the old bytes or the new ones, never a part, even after a power failure.

    `fill` writes it under a temporary name. Without `flush` it may be empty after a power failure, until `flush_files`.
    Raises OSError, which names the file and not the temporary one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # A unique name that list_files skips: a process killed here leaves nothing that counts as data.
    part = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        fill(part)
        if flush:
            _flush(part)
        part.replace(target)
        if flush:
            _flush(target.parent)
    except OSError as error:
        if error.filename == str(part):
            error.filename = str(target)
        raise
    finally:
        part.unlink(missing_ok=True)


def flush_files(paths: Iterable[str]) -> None:
    """Make files that were written without `flush` survive a power failure; raises OSError."""
    files = [Path(path) for path in paths]
    with ThreadPoolExecutor(FLUSHES_AT_ONCE) as pool:
        list(pool.map(_flush, files))
        list(pool.map(_flush, {file.parent for file in files}))


def _flush(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
