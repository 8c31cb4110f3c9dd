"""The output folder or prefix of an evaluation: its paths, and its rows, which are the record of progress."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors.exceptions import UsageError
from pipelines.errors.failures import Row, write_rows_or_mark_lost
from pipelines.evaluate.rows import WRITTEN, measured_schema
from pipelines.storage import objects as storage
from pipelines.storage.ownership import read_claim, run_file, write_claim
from pipelines.storage.parquet import DamagedTableError, list_tables, read_table, set_damaged_aside, write_table


class EvaluationFolder:
    """The paths below DIR, and how they are read and written.

    A row has a key made of everything that affects it (`key_of`), so a folder accepts further methods, sets and metrics
    at any time: what has a row is not measured again, and rows that are no longer requested are ignored.
    """

    def __init__(self, uri: str) -> None:
        self.uri = storage.absolute(uri)
        self.run_json = run_file(self.uri)
        self.manifest = storage.join(self.uri, "manifest.parquet")
        self.fused = storage.join(self.uri, "fused")
        self.rows = storage.join(self.uri, "rows")
        self.values = storage.join(self.uri, "values.parquet")
        self.pictures = storage.join(self.uri, "pictures")
        self.page = storage.join(self.uri, "results.md")
        self.csv = storage.join(self.uri, "tables.csv")
        self.latex = storage.join(self.uri, "tables.tex")
        self.findings = storage.join(self.uri, "findings.csv")
        self.success = storage.join(self.uri, "_SUCCESS.json")

    def claim(self, run: dict[str, Any]) -> None:
        """Write the configuration to run.json; raises UsageError if the folder belongs to a different job."""
        self.check(run)
        write_claim(self.uri, run)

    def check(self, run: dict[str, Any]) -> None:
        """Raise UsageError if the folder belongs to a different job."""
        there = read_claim(self.uri)
        if there is not None and there["result"].get("kind") != run["result"]["kind"]:
            raise UsageError(f"{self.uri} belongs to a different job; choose another --out")

    def read_rows(self, metrics: tuple[str, ...]) -> pa.Table:
        """Read every row (`measured_schema`), one per key, preferably an `ok` one."""
        schema = measured_schema(metrics)
        with ThreadPoolExecutor(max_workers=16) as pool:
            tables = list(pool.map(lambda uri: _read_measured(uri, schema), list_tables(self.rows)))
        rows = pa.concat_tables([schema.empty_table(), *tables])
        # "ok" sorts after "failed", so the last row of a key is kept.
        rows = rows.take(pc.sort_indices(rows, [("key", "ascending"), ("status", "ascending")]))
        keys = rows["key"].to_pylist()
        last = [key != after for key, after in zip(keys, [*keys[1:], None], strict=False)]
        return rows.filter(pa.array(last, pa.bool_()))

    def put_rows(self, rows: pa.Table) -> pa.Table:
        """Write rows as one file, named after their keys, and return the outcome of each (WRITTEN)."""

        def put(left: list[Row]) -> None:
            keys = json.dumps(sorted(row["key"] for row in left))
            name = hashlib.sha256(keys.encode()).hexdigest()[:32]
            write_table(storage.join(self.rows, f"{name}.parquet"), pa.Table.from_pylist(left, rows.schema))

        return pa.Table.from_pylist(write_rows_or_mark_lost(rows.to_pylist(), put, self.uri), WRITTEN)

    def write_text(self, uri: str, text: str) -> None:
        """Write a text file."""
        storage.write_bytes(uri, text.encode("utf-8", "replace"))

    def write_json(self, uri: str, value: dict[str, Any]) -> None:
        """Write a JSON file."""
        self.write_text(uri, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _read_measured(uri: str, schema: pa.Schema) -> pa.Table:
    """Read rows as a schema has them; a damaged file is set aside, and what it held measured again."""
    try:
        return _fit(read_table(uri), schema)
    except DamagedTableError as error:
        set_damaged_aside(uri, error)
        return schema.empty_table()


def _fit(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Convert rows that were measured with other metrics to these columns."""
    there = set(rows.column_names)
    columns = [rows[f.name].cast(f.type) if f.name in there else pa.nulls(len(rows), f.type) for f in schema]
    return pa.table(columns, schema=schema)
