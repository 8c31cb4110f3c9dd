"""Parquet files, read and written by URI on any store; files are untrusted.

A Parquet file may carry the Arrow types of its columns. Some extension types, which Ray registers, are
unpickled when a value is accessed, so a file could run code. None of ours needs them: every file is read
without them, as Parquet's own types (text, numbers, bytes).
"""

import io
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage
from upfusion.file_names import is_hidden

ROWS_A_GROUP = 1024
# pyarrow cannot read a row group whose images exceed the 2 GiB of 32-bit offsets.
BYTES_A_GROUP = 1 << 28
# Of a store, some columns are read without their neighbours. S3's driver would read 50 MiB ahead of each: two columns
# of a file of 7.0 MB, whose images lie beside them, cost all of it. With this they cost 74 kB, in a HEAD and two GETs.
READ_AHEAD = 1 << 15
DAMAGED = "damaged"
MAGIC = b"PAR1"
# The footer key of Arrow's types, and a key of the same length that pyarrow ignores.
ARROW_TYPES, UNREAD = b"ARROW:schema", b"types unread"


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


def parse_table(file: IO[bytes], columns: list[str] | None = None) -> pa.Table:
    """Read some or all columns of an open file, executing nothing in it; raises pyarrow's errors."""
    return _read_columns(open_parquet(file), columns)


def _read_columns(file: pq.ParquetFile, columns: list[str] | None) -> pa.Table:
    table = file.read(columns=columns).replace_schema_metadata(None)
    if missing := [name for name in columns or () if name not in table.column_names]:
        raise _NoColumnError(f"it has no column {missing[0]!r}")
    return table


def open_parquet(file: IO[bytes], as_dictionaries: Collection[str] = ()) -> pq.ParquetFile:
    """Open a file without its Arrow types; raises pyarrow's errors.

    Columns named in `as_dictionaries` are dictionary-encoded: they take the memory of their distinct values only.
    """
    size = file.seek(0, io.SEEK_END)
    end = _read_end(file, size, READ_AHEAD)  # mostly with all of the footer
    length = int.from_bytes(end[-8:-4], "little")
    if end[-4:] != MAGIC or length > size - 12:
        raise pa.ArrowInvalid(f"not a complete Parquet file ({size} bytes)")
    if length + 8 > len(end):
        end = _read_end(file, size, length + 8)
    # pyarrow instantiates the types when it opens a file; here it gets a footer without them.
    footer = end[-8 - length : -8].replace(ARROW_TYPES, UNREAD)
    about = pq.ParquetFile(pa.BufferReader(MAGIC + footer + end[-8:])).metadata
    there = [about.schema.column(number).path for number in range(about.num_columns)]
    return pq.ParquetFile(file, metadata=about, read_dictionary=[name for name in there if name in as_dictionaries])


def _read_end(file: IO[bytes], size: int, count: int) -> bytes:
    file.seek(max(0, size - count))
    return file.read(count)


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
