"""A disk cache of object-store files, by SHA-256, with a size limit."""

import hashlib
import logging
import os
import re
import stat
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path

from pipelines.storage import objects as storage

GIGABYTE = 10**9
OURS = re.compile(r"[0-9a-f]{64}|[0-9a-f]{32}\.part")
"""Names of files that this cache writes, and may delete."""


class ChangedError(OSError):
    """The content of an object has changed."""


class ImageCache:
    """Reads files; those of an object store from the cache if possible.

    The cache is a folder that only this user can access, below `folder` (by default the system's temp folder). Any
    number of this user's processes may share it. The least recently used files are evicted first. Links are never
    followed.
    """

    def __init__(self, gigabytes: float, folder: str | None = None) -> None:
        self.limit = int(gigabytes * GIGABYTE)
        self.folder = Path(folder or tempfile.gettempdir()) / f"upfusion-images-{os.getuid()}"
        self._written = 0
        self._is_usable: bool | None = None

    def read(self, uri: str, sha256: str) -> bytes:
        """Read an object with a known SHA-256.

        Raises OSError, naming the URI, if it cannot be read, and ChangedError if its content differs.
        """
        if not (self.limit and storage.is_remote(uri) and self._can_be_used()):
            return _checked(storage.read_bytes(uri), uri, sha256)
        copy = self.folder / sha256
        data = _read_own(copy)
        if _sha256(data) == sha256:
            return data
        data = _checked(storage.read_bytes(uri), uri, sha256)
        self._keep(copy, data)
        return data

    def _can_be_used(self) -> bool:
        if self._is_usable is None:
            reason = _why_not_private(self.folder)
            self._is_usable = reason is None
            if reason:
                logging.getLogger(__name__).warning("images are not cached on this machine: %s", reason)
        return self._is_usable

    def _keep(self, copy: Path, data: bytes) -> None:
        part = copy.with_name(f"{uuid.uuid4().hex}.part")
        try:
            part.write_bytes(data)
            part.replace(copy)
        except OSError:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            return  # a full disk only makes the run slower
        self._written += len(data)
        # Listing the folder is slow, so it may grow by a tenth between two checks.
        if self._written > self.limit // 10:
            self._written = 0
            self._shrink()

    def _shrink(self) -> None:
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(OSError):  # another process was faster
                    if OURS.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        found.append((status.st_mtime, status.st_size, entry.path))
        size = sum(length for _, length, _ in found)
        for _, length, path in sorted(found):
            if size <= self.limit:
                return
            Path(path).unlink(missing_ok=True)
            size -= length


def _why_not_private(folder: Path) -> str | None:
    """Make a folder that only this user can change; return why that is not so."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
    except OSError as error:
        return f"{folder} cannot be used ({error.strerror})"
    if not stat.S_ISDIR(status.st_mode):
        return f"{folder} is a link or a file, not a folder"
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        return f"{folder} is open to other users; remove it, or choose another --cache-folder"
    return None


def _read_own(copy: Path) -> bytes:
    """Read a copy, and take note that it was used; empty where there is none."""
    try:
        file = os.open(copy, os.O_RDONLY | os.O_NOFOLLOW)
        with open(file, "rb") as opened:  # noqa: PTH123  # it is open already
            os.utime(file)
            return opened.read()
    except OSError:
        return b""


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _checked(data: bytes, uri: str, sha256: str) -> bytes:
    if _sha256(data) != sha256:
        raise ChangedError(f"{uri} has changed since the run began; restore the file, or start a new run")
    return data
