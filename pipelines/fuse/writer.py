"""The last stage: encodes fused images and writes them and their rows, images first."""

import errno
import time
from dataclasses import replace

import numpy as np
import pyarrow as pa

from pipelines.archive.rows import milliseconds_since, unpack_image
from pipelines.errors.failures import STORE_LOST, Row, Rows, fail, mark_store_unavailable, write_rows_or_mark_lost
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination
from pipelines.fuse.schemas import WRITTEN, output_schema
from pipelines.storage import objects as storage
from pipelines.storage.names import check_inside, image_name
from pipelines.storage.schema_version import SCHEMA_VERSION
from upfusion.cameras.embed import embed_metadata
from upfusion.cameras.ifd import DESCRIPTION, Entry
from upfusion.cameras.metadata import Metadata
from upfusion.color import Pixels
from upfusion.images import FORMATS, ImageFormat, encode_image


class Writer:
    """Encodes fused images and writes them and their rows, images first."""

    def __init__(self, config: FuseConfig, model: str, alike: frozenset[str] | None = None) -> None:
        """`alike` are the ids that differ from another one of the archive in case only; None where nobody knows."""
        self.config = config
        self.model = model
        self.alike = alike
        # Created on the driver: a relative path is relative to its working directory, not a worker's.
        self.destination = Destination(config.destination)

    def __call__(self, pairs: pa.Table) -> pa.Table:
        """Write a block and return the outcome of each pair; a failing store stops the job and fails no pair."""
        rows = pairs.to_pylist()
        for row in rows:
            self._finish(row)
            if row["error_code"] == STORE_LOST:  # the other pairs would time out in the same way
                return pa.Table.from_pylist([one | {"stopped": row["error"]} for one in rows], WRITTEN)

        def put(kept: Rows) -> None:
            # All images at once, which takes half as long, and before the rows that name them.
            written = (row.get(name) for row in kept for name in ("fused_uri", "registered_uri"))
            storage.flush([uri for uri in written if uri])
            self.destination.write_pairs(pa.Table.from_pylist(kept, output_schema(self.config.metrics)))

        return pa.Table.from_pylist(write_rows_or_mark_lost(rows, put, self.destination.uri), WRITTEN)

    def _finish(self, row: Row) -> None:
        started = time.perf_counter()
        image, row["fused"] = row["fused"], None
        row["prompt"] = row["prompt"] or self.config.prompt
        row["balance"] = self.config.guide.balance_of(row)
        if row["error_code"] is None:
            row |= {"width": image["width"], "height": image["height"], "model": self.model}
            try:
                self._keep(row, unpack_image(image))
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG:
                    fail(row, "write_failed", f"the image's name is too long for the store: {error}")
                else:
                    mark_store_unavailable(row, self.destination.uri, error)
            except Exception as error:  # noqa: BLE001  # an encoder's exception fails its own pair only
                fail(row, "write_failed", f"the fused image cannot be written: {error}")
        row["schema_version"] = SCHEMA_VERSION
        row["status"] = "ok" if row["error_code"] is None else "failed"
        row["encode_ms"] = milliseconds_since(started)

    def _keep(self, row: Row, pixels: Pixels) -> None:
        """Encode an image and store it as a file, in the row, or both."""
        data = encode_fused(row, pixels, self.config.format)
        if self.config.also == "b":
            self._keep_registered(row)
        name = self._name(row["pair_id"], self.config.format)
        uri = storage.join(self.destination.images, name)
        if self.config.images == "parquet":
            row["fused"] = {"bytes": data, "path": name}
            return
        check_inside(uri, self.destination.images)
        storage.write_bytes(uri, data, flush=False)
        row["fused_uri"] = uri
        row["fused"] = {"bytes": data, "path": name} if self.config.images == "both" else {"bytes": None, "path": uri}

    def _name(self, pair_id: str, image_format: ImageFormat) -> str:
        return image_name(pair_id, FORMATS[image_format], self.alike)

    def _keep_registered(self, row: Row) -> None:
        """Put B as it was fused: in A's pixels, at its own depth, as a TIFF where it has 16 bits.

        A description in it says which values are its black and white.
        """
        pixels = unpack_image(row["b"])
        image_format: ImageFormat = "tiff" if pixels.dtype == np.uint16 else "png"
        name = self._name(row["pair_id"], image_format)
        uri = storage.join(self.destination.registered, name)
        check_inside(uri, self.destination.registered)
        kept = Metadata.unpack(row["metadata"]) if row["metadata"] is not None else Metadata()
        if row["range_b"] is not None:
            low, high = row["range_b"].split(":")
            text = f"0 is {low}, {np.iinfo(pixels.dtype).max} is {high}"
            kept = replace(kept, main={**kept.main, DESCRIPTION: Entry.of_text(text)})
        data = encode_image(pixels, image_format)
        storage.write_bytes(uri, embed_metadata(data, kept, 1 if pixels.ndim == 2 else 3), flush=False)
        row["registered_uri"] = uri


def encode_fused(row: Row, pixels: Pixels, image_format: ImageFormat) -> bytes:
    """Encode a fused image, with the metadata that its row has of A."""
    data = encode_image(pixels, image_format)
    if row["metadata"] is None:
        return data
    return embed_metadata(data, Metadata.unpack(row["metadata"]), 1 if pixels.ndim == 2 else 3)
