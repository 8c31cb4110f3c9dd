"""Images inside a Parquet file, read by row and column.

A column is read row group by row group, never the whole file: rows that are asked for in their order cost each page
once. pyarrow writes the values of up to 1024 rows as one page, so this takes the memory of that.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from errno import EIO, ENOENT
from itertools import accumulate, pairwise
from typing import IO

import pyarrow as pa

from pipelines.storage.open_parquet import open_parquet
from pipelines.storage.parts import Cell

COLUMNS_OPEN = 4
"""Columns that stay open in a process: both sides of the file at hand, and of the next one."""
Opener = Callable[[str], AbstractContextManager[IO[bytes]]]
Found = dict[Cell, bytes | Exception]
_open: dict[tuple[str, str, str], "_Column"] = {}
_lock = threading.Lock()


def read_cells(cells: Iterable[Cell], opener: Opener, version_of: Callable[[str], str]) -> Found:
    """Read the bytes of cells; one that cannot be read gives its exception.

    `version_of` tells whether a file that is still open has been replaced meanwhile.
    """
    found: Found = {}
    with _lock:
        for cell in sorted(cells, key=lambda one: (one.file, one.column, one.row)):
            try:
                found[cell] = _column(cell, opener, version_of).read(cell)
            except Exception as error:  # noqa: BLE001  # pyarrow and the drivers raise what they like
                _forget(cell)
                found[cell] = _as_os_error(error, cell)
    return found


def _as_os_error(error: Exception, cell: Cell) -> Exception:
    """Give pyarrow's error of a damaged file a name and a number; errors of a store have them."""
    if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
        return error
    return OSError(EIO, f"not a complete Parquet file ({error})", cell.file)


def _column(cell: Cell, opener: Opener, version_of: Callable[[str], str]) -> "_Column":
    key = (cell.file, cell.column, version_of(cell.file))
    if key not in _open:
        _forget(cell)
        while len(_open) >= COLUMNS_OPEN:
            _open.pop(next(iter(_open))).close()
        _open[key] = _Column(cell, opener)
    _open[key] = _open.pop(key)  # the last one used is the last one closed
    return _open[key]


def _forget(cell: Cell) -> None:
    for key in [key for key in _open if key[:2] == (cell.file, cell.column)]:
        _open.pop(key).close()


class _Column:
    """A column of an open file, and the place up to which it has been read."""

    def __init__(self, cell: Cell, opener: Opener) -> None:
        with ExitStack() as stack:
            self._file = open_parquet(stack.enter_context(opener(cell.file)))
            about = self._file.metadata
            there = {about.schema.column(number).path for number in range(about.num_columns)}
            name = next((name for name in (f"{cell.column}.bytes", cell.column) if name in there), None)
            if name is None:
                raise FileNotFoundError(ENOENT, f"it has no column of images {cell.column!r}", cell.file)
            self._name = name
            sizes = (about.row_group(number).num_rows for number in range(about.num_row_groups))
            self._starts = [0, *accumulate(sizes)]
            self._rows: Iterator[bytes | None] = iter(())
            self._next, self._end = 0, 0
            self.close = stack.pop_all().close

    def read(self, cell: Cell) -> bytes:
        """Return the bytes in a row; raises FileNotFoundError where there are none."""
        if not self._next <= cell.row < self._end:
            self._begin_group_of(cell)
        value = None
        while self._next <= cell.row:
            value = next(self._rows)
            self._next += 1
        if value is None:
            raise FileNotFoundError(ENOENT, "the row holds no bytes; its path is not followed", cell.file)
        return value

    def _begin_group_of(self, cell: Cell) -> None:
        bounds = enumerate(pairwise(self._starts))
        group = next((number for number, (start, end) in bounds if start <= cell.row < end), None)
        if group is None:
            raise FileNotFoundError(ENOENT, f"it has {self._starts[-1]} rows, none with number {cell.row}", cell.file)
        self._next, self._end = self._starts[group], self._starts[group + 1]
        self._rows = self._values(group)

    def _values(self, group: int) -> Iterator[bytes | None]:
        # One by one: dictionary-encoded, a small file can repeat a large value in every row.
        for batch in self._file.iter_batches(1, row_groups=[group], columns=[self._name], use_threads=False):
            column = batch.column(0)
            if isinstance(column, pa.StructArray):
                column = column.field("bytes")
            yield column[0].as_py()
