"""Parquet files that would run code when one of their values is looked at."""

import io
import os
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from ray.data._internal.object_extensions.arrow import ArrowPythonObjectType


class _Touches:
    """Pickled, it makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (str(self.path), 0o777)


def hostile_parquet(columns: dict[str, list[object]], hostile: str, leaves: Path) -> bytes:
    """A table one of whose columns makes the folder `leaves` when a value of it is read as Ray means it."""
    table = pa.table(columns)
    pickled = pa.array([pickle.dumps(_Touches(leaves))] * table.num_rows, pa.large_binary())
    column = pa.ExtensionArray.from_storage(ArrowPythonObjectType(), pickled)
    table = table.set_column(table.column_names.index(hostile), hostile, column)
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
