"""An open object of a store whose reads are retried."""

import io
from typing import IO, TYPE_CHECKING

from pipelines.storage.retry import with_retries

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class RetryingFile(io.RawIOBase):
    """A file of a store whose reads are retried."""

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
        found = with_retries(self._uri, lambda: self._read_here(len(into)))
        into[: len(found)] = found
        self._at += len(found)
        return len(found)

    def _read_here(self, size: int) -> bytes:
        self._file.seek(self._at)
        return self._file.read(size)
