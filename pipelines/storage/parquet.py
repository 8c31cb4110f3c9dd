"""Parquet files as whole objects: read and put by URI, on any store, and never trusted.

Beside the columns, a writer may leave the types that they had in Arrow. Some of those, which Ray registers, are
unpickled when a value is looked at, so that a file could run code. None of ours needs them: every file is read
without, its columns as the text, numbers and bytes that Parquet itself knows.
"""

import io
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors.exceptions import RequestError
from pipelines.storage import objects as storage
from upfusion.file_names import is_hidden

ROWS_A_GROUP = 1024
# pyarrow cannot read a row group back whose images pass the 2 GiB of 32-bit offsets.
BYTES_A_GROUP = 1 << 28
MAGIC = b"PAR1"
# Where a footer keeps Arrow's types, and a name of the same length under which nobody looks for them.
ARROW_TYPES, UNREAD = b"ARROW:schema", b"types unread"


def read_table(uri: str, columns: list[str] | None = None) -> pa.Table:
    """Read some or all columns of a file; raises RequestError where it is no Parquet, OSError as the store does."""
    with storage.open_to_read(uri) as file, _refusing(uri):
        return parse_table(file, columns)


def read_as(uri: str, schema: pa.Schema) -> pa.Table:
    """Read the columns of a schema, null where a file lacks one; raises as read_table does."""
    with storage.open_to_read(uri) as file, _refusing(uri):
        there = open_parquet(file).read(columns=schema.names)
        columns = [
            there[field.name].cast(field.type) if field.name in there.column_names else pa.nulls(len(there), field.type)
            for field in schema
        ]
        return pa.table(columns, schema=schema)


def parse_table(file: IO[bytes], columns: list[str] | None = None) -> pa.Table:
    """Read some or all columns of an open file, executing nothing in it; raises pyarrow's errors."""
    table = open_parquet(file).read(columns=columns).replace_schema_metadata(None)
    if missing := [name for name in columns or () if name not in table.column_names]:
        raise pa.ArrowInvalid(f"it has no column {missing[0]!r}")
    return table


def open_parquet(file: IO[bytes], as_dictionaries: Collection[str] = ()) -> pq.ParquetFile:
    """Open a file without the types that its writer had; raises pyarrow's errors.

    Columns named in `as_dictionaries` take the memory of their different values alone.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or length > size - 12:
        raise pa.ArrowInvalid(f"no Parquet, or a part of one, in {size} bytes")
    file.seek(size - 8 - length)
    # pyarrow makes the types as it opens a file; here it gets a footer in which it does not find them.
    footer = file.read(length).replace(ARROW_TYPES, UNREAD)
    about = pq.ParquetFile(pa.BufferReader(MAGIC + footer + tail)).metadata
    there = [about.schema.column(number).path for number in range(about.num_columns)]
    return pq.ParquetFile(file, metadata=about, read_dictionary=[name for name in there if name in as_dictionaries])


def write_table(uri: str, table: pa.Table) -> None:
    """Put a table whole, in row groups that can be read back."""
    buffer = io.BytesIO()
    rows = max(1, min(ROWS_A_GROUP, table.num_rows * BYTES_A_GROUP // max(1, table.nbytes)))
    pq.write_table(table, buffer, compression="zstd", row_group_size=rows)
    storage.write_bytes(uri, buffer.getvalue())


def list_tables(folder: str) -> list[str]:
    """List the Parquet files right in a folder or under a prefix; anything else there is passed over."""
    depth = folder.count("/") + 1
    files = ((uri, uri.rpartition("/")[2]) for uri in storage.list_files(folder) if uri.count("/") == depth)
    return [uri for uri, name in files if name.endswith(".parquet") and not is_hidden(name)]


@contextmanager
def _refusing(uri: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        # A store's errors have a kind or a number; pyarrow's, about what is in the file, have neither.
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
            raise
        # Files are put whole, so one that is damaged did not come about here.
        raise RequestError(
            f"{uri} was not written by an upfusion job ({error}). Move it elsewhere and run the same command again."
        ) from error
