"""The rows of a destination, without the bytes of images, as a table of a lakehouse: Delta Lake or Apache Iceberg.

One commit replaces all rows, so a table never has a part of a job, and readers of an earlier version keep theirs. The
commit carries a digest of the files of rows; where nothing has changed since, none is made.
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pyarrow as pa

from pipelines.errors.exceptions import UsageError
from pipelines.fuse.destination import Destination
from pipelines.fuse.schemas import output_schema
from pipelines.storage import objects as storage
from pipelines.storage.ownership import read_claim
from pipelines.storage.parquet import read_as

DIGEST = "upfusion.rows"
"""The property of a commit that says which rows it has."""


def write_rows_to_table(
    destination: Destination, to: str, kind: Literal["delta", "iceberg"], on_progress: Callable[[int], None]
) -> tuple[int, bool]:
    """Make a table hold the rows of a destination; returns their number, and whether a commit was needed.

    `to` is a folder or a URI for Delta, [CATALOG.]NAMESPACE.TABLE for Iceberg. Raises UsageError where the package is
    not installed or the table is not there and cannot be made.
    """
    claim = read_claim(destination.uri)
    assert claim is not None
    fields = [field for field in output_schema(tuple(claim["result"].get("metrics", ()))) if field.name != "fused"]
    # Both formats check what must not be null; files of earlier versions may lack any column but these.
    schema = pa.schema([field.with_nullable(True) for field in fields])
    versions = {uri: version for uri, version in storage.list_versions(destination.pairs).items() if _is_rows(uri)}
    digest = hashlib.sha256(repr(sorted(versions.items())).encode()).hexdigest()
    count = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal count
        for uri in destination.pair_files():
            rows = read_as(uri, schema)
            count += rows.num_rows
            on_progress(count)
            yield from rows.to_batches()

    reader = pa.RecordBatchReader.from_batches(schema, batches())
    write = _write_delta if kind == "delta" else _write_iceberg
    try:
        written = write(to, reader, digest)
    except ImportError as error:
        raise UsageError(
            f"--layout {kind} needs a package that is not installed: pip install 'upfusion[{kind}]'"
        ) from error
    return count if written else len(destination.read_columns(["pair_id"])), written


def _is_rows(uri: str) -> bool:
    return uri.endswith(".parquet")


def _write_delta(to: str, rows: pa.RecordBatchReader, digest: str) -> bool:
    from deltalake import CommitProperties, DeltaTable, write_deltalake
    from deltalake.exceptions import DeltaError

    place = storage.absolute(to)
    try:
        if DeltaTable.is_deltatable(place) and DeltaTable(place).history(1)[0].get(DIGEST) == digest:
            return False
        properties = CommitProperties(custom_metadata={DIGEST: digest})
        write_deltalake(place, rows, mode="overwrite", schema_mode="overwrite", commit_properties=properties)
    except (DeltaError, OSError) as error:
        raise UsageError(f"--to {to} cannot be written as a Delta table: {storage.redact(str(error))}") from error
    return True


def _write_iceberg(to: str, rows: pa.RecordBatchReader, digest: str) -> bool:
    from pyiceberg.catalog import load_catalog
    from pyiceberg.exceptions import NoSuchTableError

    parts = to.split(".")
    if len(parts) not in (2, 3) or not all(parts):
        raise UsageError(f"--to {to}: expected [CATALOG.]NAMESPACE.TABLE, the catalog as pyiceberg's settings name it")
    *catalog, namespace, table = parts
    try:
        known = load_catalog(*catalog)
        try:
            there: Any = known.load_table((namespace, table))
        except NoSuchTableError:
            known.create_namespace_if_not_exists(namespace)
            there = known.create_table((namespace, table), rows.schema)
        snapshot = there.current_snapshot()
        if snapshot and snapshot.summary and snapshot.summary.get(DIGEST) == digest:
            return False
        with there.transaction() as change:
            with change.update_schema() as columns:
                columns.union_by_name(rows.schema)
            write = change.overwrite if snapshot else change.append  # it warns of nothing to overwrite
            write(rows, snapshot_properties={DIGEST: digest})
    except (ValueError, OSError, RuntimeError) as error:
        raise UsageError(f"--to {to} cannot be written as an Iceberg table: {storage.redact(str(error))}") from error
    return True
