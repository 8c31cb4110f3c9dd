"""Opening a Parquet file that is untrusted.

A Parquet file may carry the Arrow types of its columns. Some extension types, which Ray registers, are
unpickled when a value is accessed, so a file could run code. None of ours needs them: every file is read
without them, as Parquet's own types (text, numbers, bytes).
"""

import io
from collections.abc import Collection
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

# Of a store, some columns are read without their neighbours. S3's driver would read 50 MiB ahead of each: two columns
# of a file of 7.0 MB, whose images lie beside them, cost all of it. With this they cost 74 kB, in a HEAD and two GETs.
READ_AHEAD = 1 << 15
MAGIC = b"PAR1"
# The footer key of Arrow's types, and a key of the same length that pyarrow ignores.
ARROW_TYPES, UNREAD = b"ARROW:schema", b"types unread"


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
