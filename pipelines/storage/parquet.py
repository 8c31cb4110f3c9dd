"""Parquet files, read and written by URI on any store; files are untrusted.

Every file is read without the Arrow types that it may carry (open_parquet.py).
"""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage
from pipelines.storage.open_parquet import READ_AHEAD, open_parquet
from upfusion.file_names import is_hidden

ROWS_A_GROUP = 1024
# pyarrow cannot read a row group whose images exceed the 2 GiB of 32-bit offsets.
BYTES_A_GROUP = 1 << 28
DAMAGED = "damaged"


class DamagedTableError(UsageError):
    """A file that is not complete Parquet."""


class _NoColumnError(pa.ArrowInvalid):
    """A complete file that lacks a column."""


def read_table(uri: str, columns: list[str] | None = None) -> pa.Table:
    """Read some or all columns of a file.

    Raises DamagedTableError if it is not complete Parquet, UsageError if it lacks a column, OSError from the store.
    """
    with _opened(uri, columns) as file, _refusing(uri):
        return _read_columns(file, columns)


def read_as(uri: str, schema: pa.Schema) -> pa.Table:
    """Read the columns of a schema, null where the file lacks one; raises as read_table does."""
    with _opened(uri, schema.names) as file, _refusing(uri):
        there = file.read(columns=schema.names)
        columns = [
            there[field.name].cast(field.type) if field.name in there.column_names else pa.nulls(len(there), field.type)
            for field in schema
        ]
        return pa.table(columns, schema=schema)


@contextmanager
def _opened(uri: str, columns: list[str] | None) -> Iterator[pq.ParquetFile]:
    """Open a file to read some columns of it, of a store in as few and as small requests as that takes."""
    if not storage.is_remote(uri):
        with storage.open_to_read(uri) as file:
            yield _open_as_ours(uri, file)
        return
    if columns is not None:
        with storage.open_to_read(uri, READ_AHEAD) as file:
            parquet = _open_as_ours(uri, file)
            if 2 * _bytes_of(parquet.metadata, columns) < file.seek(0, io.SEEK_END):
                yield parquet
                return
    with io.BytesIO(storage.read_bytes(uri)) as whole:
        yield _open_as_ours(uri, whole)


def _open_as_ours(uri: str, file: IO[bytes]) -> pq.ParquetFile:
    with _refusing(uri):
        return open_parquet(file)


def _bytes_of(about: pq.FileMetaData, columns: list[str]) -> int:
    """Return how many bytes of a file hold some of its columns."""
    groups = (about.row_group(number) for number in range(about.num_row_groups))
    parts = (group.column(number) for group in groups for number in range(about.num_columns))
    return sum(part.total_compressed_size for part in parts if part.path_in_schema.partition(".")[0] in columns)


def _read_columns(file: pq.ParquetFile, columns: list[str] | None) -> pa.Table:
    table = file.read(columns=columns).replace_schema_metadata(None)
    if missing := [name for name in columns or () if name not in table.column_names]:
        raise _NoColumnError(f"it has no column {missing[0]!r}")
    return table


def write_table(uri: str, table: pa.Table) -> None:
    """Write a table atomically, in row groups small enough to be read back."""
    buffer = io.BytesIO()
    rows = max(1, min(ROWS_A_GROUP, table.num_rows * BYTES_A_GROUP // max(1, table.nbytes)))
    pq.write_table(table, buffer, compression="zstd", row_group_size=rows)
    storage.write_bytes(uri, buffer.getvalue())


def set_damaged_aside(uri: str, error: DamagedTableError) -> str:
    """Move a damaged file into the folder `damaged` beside its own, and return its new URI."""
    folder = storage.join(uri.rpartition("/")[0].rpartition("/")[0], DAMAGED)
    place = storage.set_aside(uri, folder)
    logging.getLogger(__name__).warning("%s is damaged (%s); moved to %s", uri, error.__cause__, place)
    return place


def list_tables(folder: str) -> list[str]:
    """List the Parquet files directly in a folder or prefix; other files are ignored."""
    depth = folder.count("/") + 1
    files = ((uri, uri.rpartition("/")[2]) for uri in storage.list_files(folder) if uri.count("/") == depth)
    return [uri for uri, name in files if name.endswith(".parquet") and not is_hidden(name)]


@contextmanager
def _refusing(uri: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        # Errors of a store have a subclass or an errno; pyarrow's errors about the content have neither.
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
            raise
        # Our files are written atomically, so a damaged one is not ours, or was damaged later.
        kind = UsageError if isinstance(error, _NoColumnError) else DamagedTableError
        raise kind(
            f"{uri} was not written by an upfusion job ({error}). Move it elsewhere and rerun the same command."
        ) from error
