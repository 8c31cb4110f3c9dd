"""Temporary folders that a killed process does not leave for good."""

import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NAME = re.compile(r"upfusion-scratch-\w+")
YOUNG_SECONDS = 60.0
"""A folder is made before it is locked, so that a younger one may be another process's that is about to lock it."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Provide a temporary folder on this machine, removed at the end of a `with` block.

    Where the process is killed before, the next one of the same user on this machine removes it: a segment, a joined
    recording or the state of a training run takes up to gigabytes.
    """
    _remove_abandoned()
    with tempfile.TemporaryDirectory(prefix="upfusion-scratch-") as name:
        handle = os.open(name, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # ends with the process
            yield Path(name)
        finally:
            os.close(handle)


def _remove_abandoned() -> None:
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                with suppress(OSError):  # another user's, in use, or removed meanwhile
                    _remove_if_abandoned(entry)


def _remove_if_abandoned(entry: "os.DirEntry[str]") -> None:
    """Remove a folder that nobody holds; raises OSError where it is in use."""
    found = entry.stat(follow_symlinks=False)
    if found.st_uid != os.getuid() or time.time() - found.st_mtime < YOUNG_SECONDS:
        return
    handle = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(entry.path)
    finally:
        os.close(handle)
