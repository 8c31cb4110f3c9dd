"""Parquet files as whole objects: read and put by URI, on any store."""

import io

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import storage
from pipelines.request import RequestError

ROWS_A_GROUP = 1024
# pyarrow cannot read a row group back whose images pass the 2 GiB of 32-bit offsets.
BYTES_A_GROUP = 1 << 28


def read_table(uri: str, columns: list[str] | None = None) -> pa.Table:
    """Read some or all columns of a file; raises RequestError where it is no Parquet, OSError as the store does."""
    filesystem, path = storage.open_store(uri)
    with filesystem.open(path, "rb") as file:
        try:
            return pq.read_table(file, columns=columns)
        except (pa.ArrowInvalid, OSError) as error:
            # A store's errors have a kind or a number; pyarrow's, about what is in the file, have neither.
            if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
                raise
            # Files are put whole, so one that is damaged did not come about here.
            raise RequestError(
                f"{uri} was not written by an upfusion job ({error}). Move it elsewhere and run the same command again."
            ) from error


def write_table(uri: str, table: pa.Table) -> None:
    """Put a table whole, in row groups that can be read back."""
    buffer = io.BytesIO()
    rows = max(1, min(ROWS_A_GROUP, table.num_rows * BYTES_A_GROUP // max(1, table.nbytes)))
    pq.write_table(table, buffer, compression="zstd", row_group_size=rows)
    storage.write_bytes(uri, buffer.getvalue())


def list_tables(folder: str) -> list[str]:
    """List the Parquet files right in a folder or under a prefix; anything else there is passed over."""
    depth = folder.count("/") + 1
    return [uri for uri in storage.list_files(folder) if uri.endswith(".parquet") and uri.count("/") == depth]
