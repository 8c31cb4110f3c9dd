"""The folder or prefix of an evaluation: names of what lies there, and the rows that are the record of progress."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors.exceptions import RequestError
from pipelines.errors.failures import Row, put_or_tell
from pipelines.evaluate.rows import WRITTEN, measured_schema
from pipelines.storage import objects as storage
from pipelines.storage.ownership import read_claim, run_file, write_claim
from pipelines.storage.parquet import list_tables, read_table, write_table


class EvaluationFolder:
    """Names and writes everything below DIR.

    A row is named by a key made of all that decides it (`key_of`), so a folder takes other methods, sets and metrics
    at any time: what has a row is not measured again, and rows that nothing asks for any more are passed over.
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
        """Write what is compared into run.json; raises RequestError where the folder is another job's."""
        there = read_claim(self.uri)
        if there is not None and there["result"].get("kind") != run["result"]["kind"]:
            raise RequestError(f"{self.uri} belongs to another job; choose another --out")
        write_claim(self.uri, run)

    def read_rows(self, metrics: tuple[str, ...]) -> pa.Table:
        """Read every row that was ever measured (`measured_schema`), one a key, an `ok` one where there is one."""
        schema = measured_schema(metrics)
        with ThreadPoolExecutor(max_workers=16) as pool:
            tables = list(pool.map(lambda uri: _fit(read_table(uri), schema), list_tables(self.rows)))
        rows = pa.concat_tables([schema.empty_table(), *tables])
        # "ok" comes after "failed", so the last row of a key is the one to keep.
        rows = rows.take(pc.sort_indices(rows, [("key", "ascending"), ("status", "ascending")]))
        keys = rows["key"].to_pylist()
        last = [key != after for key, after in zip(keys, [*keys[1:], None], strict=False)]
        return rows.filter(pa.array(last, pa.bool_()))

    def put_rows(self, rows: pa.Table) -> pa.Table:
        """Put rows as one file, named after their keys, and return what became of each (WRITTEN)."""

        def put(left: list[Row]) -> None:
            keys = json.dumps(sorted(row["key"] for row in left))
            name = hashlib.sha256(keys.encode()).hexdigest()[:32]
            write_table(storage.join(self.rows, f"{name}.parquet"), pa.Table.from_pylist(left, rows.schema))

        return pa.Table.from_pylist(put_or_tell(rows.to_pylist(), put, self.uri), WRITTEN)

    def write_text(self, uri: str, text: str) -> None:
        """Put a text file."""
        storage.write_bytes(uri, text.encode("utf-8", "replace"))

    def write_json(self, uri: str, value: dict[str, Any]) -> None:
        """Put a JSON file."""
        self.write_text(uri, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _fit(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give rows that were measured with other metrics these columns."""
    there = set(rows.column_names)
    columns = [rows[f.name].cast(f.type) if f.name in there else pa.nulls(len(rows), f.type) for f in schema]
    return pa.table(columns, schema=schema)
