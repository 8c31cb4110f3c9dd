"""A disk cache of object-store files, by SHA-256, with a size limit."""

import hashlib
import os
import tempfile
import uuid
from pathlib import Path

from pipelines.storage import objects as storage

GIGABYTE = 10**9


class ChangedError(OSError):
    """The content of an object has changed."""


class ImageCache:
    """Reads files; those of an object store from the cache if possible.

    Any number of processes of a machine may share a folder. The least recently used files are evicted first.
    """

    def __init__(self, gigabytes: float, folder: str | None = None) -> None:
        self.limit = int(gigabytes * GIGABYTE)
        self.folder = Path(folder or Path(tempfile.gettempdir()) / f"upfusion-images-{os.getuid()}")
        self._written = 0

    def read(self, uri: str, sha256: str) -> bytes:
        """Read an object with a known SHA-256.

        Raises OSError, naming the URI, if it cannot be read, and ChangedError if its content differs.
        """
        if not (self.limit and storage.is_remote(uri)):
            return _checked(storage.read_bytes(uri), uri, sha256)
        copy = self.folder / sha256[:2] / sha256
        try:
            data = copy.read_bytes()
            os.utime(copy)
        except OSError:
            data = b""
        if _sha256(data) == sha256:
            return data
        data = _checked(storage.read_bytes(uri), uri, sha256)
        self._keep(copy, data)
        return data

    def _keep(self, copy: Path, data: bytes) -> None:
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            part = copy.with_name(f"{uuid.uuid4().hex}.part")
            part.write_bytes(data)
            part.replace(copy)
        except OSError:
            return  # a full disk only makes the run slower
        self._written += len(data)
        # Listing the folder is slow, so it may grow by a tenth between two checks.
        if self._written > self.limit // 10:
            self._written = 0
            self._shrink()

    def _shrink(self) -> None:
        found = []
        for file in self.folder.glob("*/*"):
            try:
                status = file.stat()
            except OSError:
                continue  # another process was faster
            found.append((status.st_mtime, status.st_size, file))
        size = sum(length for _, length, _ in found)
        for _, length, file in sorted(found):
            if size <= self.limit:
                return
            file.unlink(missing_ok=True)
            size -= length


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _checked(data: bytes, uri: str, sha256: str) -> bytes:
    if _sha256(data) != sha256:
        raise ChangedError(f"{uri} has changed since the run began; restore the file, or start a new run")
    return data
