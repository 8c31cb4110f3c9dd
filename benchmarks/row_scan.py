"""What it costs to read which pairs are done where the rows hold their images: bytes, requests and seconds of one scan.

    python -m benchmarks.row_scan [ROWS]

10,000 rows by default, in files of 14 as the writer makes them of large pairs, with an image of 16 KB in each, on
Ceph RGW where it is installed, elsewhere on moto. A job makes such a scan three to four times. A proxy counts bytes and
requests of one scan; the seconds and the memory are those of another one without it.
"""

import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pyarrow as pa
from s3fs import S3FileSystem

from pipelines.fuse.destination import Destination
from pipelines.fuse.schemas import output_schema
from pipelines.storage import objects as storage
from pipelines.storage.parquet import write_table
from tests.fault_proxy import FaultProxy
from tests.object_store import ObjectStore, chosen_kind
from upfusion.metric_names import METRIC_NAMES

ROWS_PER_FILE, IMAGE_BYTES = 14, 16_384


def main(count: int) -> None:
    """Write rows, scan them twice, and print what it took."""
    with tempfile.TemporaryDirectory(prefix="upfusion-") as folder:
        store = ObjectStore(chosen_kind(), Path(folder))
        store.start()
        try:
            place = Destination(f"{store.new_bucket()}/out")
            size = write_rows(place, count)
            memory, began = _memory(), time.perf_counter()
            assert place.finished().ok == count
            seconds, memory = time.perf_counter() - began, _memory() - memory
            with FaultProxy(store.port).running() as proxy:
                os.environ["AWS_ENDPOINT_URL"] = proxy.endpoint
                S3FileSystem.clear_instance_cache()
                assert place.finished().ok == count
                answers = [size for _, size in proxy.answers]
        finally:
            store.stop()
    print(
        f"{store.kind}, {count} rows, {-(-count // ROWS_PER_FILE)} files of {size} bytes: one scan reads "
        f"{sum(answers) / 1e6:.1f} MB in {len(answers)} requests; {seconds:.1f} s and {memory >> 20} MiB more memory"
    )


def write_rows(place: Destination, count: int) -> int:
    """Write `count` rows with images that cannot be compressed, and return the size of a file."""
    schema = output_schema(METRIC_NAMES)

    def write(start: int) -> str:
        rows = min(ROWS_PER_FILE, count - start)
        given = {
            "pair_id": pa.array([f"camera_{number // 1000}/{number:08d}" for number in range(start, start + rows)]),
            "status": pa.array(["ok"] * rows),
            **{name: pa.array([f"s3://archive/{name}/0.png"] * rows) for name in ("a_uri", "b_uri")},
            "task": pa.array(["ir_visible"] * rows),
            "fused": pa.array(
                [{"bytes": os.urandom(IMAGE_BYTES), "path": "fused.png"} for _ in range(rows)],
                schema.field("fused").type,
            ),
            **{name: pa.array([0.123] * rows) for name in METRIC_NAMES},
        }
        uri = storage.join(place.pairs, f"{start:08d}.parquet")
        write_table(uri, pa.table([given.get(f.name, pa.nulls(rows, f.type)) for f in schema], schema=schema))
        return uri

    with ThreadPoolExecutor(8) as pool:
        uris = list(pool.map(write, range(0, count, ROWS_PER_FILE)))
    return len(storage.read_bytes(uris[0]))


def _memory() -> int:
    return psutil.Process().memory_info().rss


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
