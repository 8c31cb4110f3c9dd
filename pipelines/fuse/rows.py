"""The rows of a fuse job for a notebook: `open_rows("s3://archive/fused").to_table(columns=["pair_id", "vif"])`."""

import pyarrow.dataset as ds

from pipelines.errors.exceptions import UsageError
from pipelines.fuse.destination import Destination
from pipelines.fuse.schemas import output_schema
from pipelines.storage.objects import open_store
from pipelines.storage.ownership import read_claim


def open_rows(destination: str) -> ds.Dataset:
    """Open the rows of a fuse job's DEST, a folder or a URI, as a pyarrow dataset that reads what it is asked for.

    It has one row per finished pair or segment, with the columns of docs/cluster.md and one per metric of the job; a
    column that an earlier version did not write is null. Raises UsageError where no fuse job wrote, OSError from the
    store.
    """
    claim = read_claim(destination)
    if claim is None or "metrics" not in claim["result"]:
        raise UsageError(f"{destination} holds no rows of a fuse job: it has no run.json of one")
    store, _ = open_store(destination)
    paths = [open_store(uri)[1] for uri in Destination(destination).pair_files()]
    schema = output_schema(tuple(claim["result"]["metrics"]))
    return ds.dataset(paths, schema=schema, format="parquet", filesystem=store)
