"""Taking the fused images of a destination out, whatever form they are kept in, and its rows into tables."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipelines.errors.exceptions import UsageError
from pipelines.errors.failures import Row
from pipelines.fuse.destination import Destination
from pipelines.fuse.export_config import ExportConfig
from pipelines.fuse.export_table import write_rows_to_table
from pipelines.fuse.export_tars import write_tars
from pipelines.fuse.schemas import output_schema
from pipelines.storage import objects as storage
from pipelines.storage.names import check_inside, ids_alike, image_name
from pipelines.storage.ownership import read_claim
from pipelines.storage.parquet import read_as
from upfusion.cameras.embed import embed_metadata
from upfusion.cameras.metadata import read_metadata
from upfusion.images import FORMATS, ImageFormat, decode_image, encode_image

_COLUMNS = ("pair_id", "status", "fused", "fused_uri")
_WITHIN = ("fused", "fused_uri", "registered_uri", "segment_uri", "frames_uri")
"""Columns that only say where a destination keeps something."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    count: int = 0
    """Number of images, or of rows of a table."""
    first: str | None = None
    """The first file written."""
    unreadable: list[str] = field(default_factory=list)
    """Pairs whose image is no longer where its row says, with the reason."""
    unchanged: bool = False
    """Whether a table had these rows already."""


def export(config: ExportConfig, on_progress: Callable[[int], None] = lambda _: None) -> Exported:
    """Write the fused images of a destination as files or tars, or its rows as a table.

    Only files below DEST are read, whatever its rows name. Raises UsageError where no fuse job wrote, and OSError where
    the files cannot be written.
    """
    destination = Destination(config.destination)
    claim = read_claim(destination.uri)
    if claim is None or not destination.pair_files():
        raise UsageError(f"{destination.uri} holds no rows of a fuse job")
    if config.layout in ("delta", "iceberg"):
        count, written = write_rows_to_table(destination, config.to, config.layout, on_progress)
        return Exported(count, unchanged=not written)
    unreadable: list[str] = []
    to = storage.absolute(config.to)
    if config.layout == "tars":
        columns = tuple(output_schema(tuple(claim["result"].get("metrics", ()))).names)
        images = _images(destination, config, claim, unreadable, columns)
        count, tars = write_tars(images, to, config.shard_mb << 20, on_progress)
        return Exported(count, min(tars, default=None), unreadable)
    count, first = 0, None
    for _, name, data in _images(destination, config, claim, unreadable):
        uri = storage.join(to, name)
        check_inside(uri, to)
        storage.write_bytes(uri, data)
        count, first = count + 1, min(first or uri, uri)
        on_progress(count)
    return Exported(count, first, unreadable)


def _images(
    destination: Destination,
    config: ExportConfig,
    claim: dict[str, Any],
    unreadable: list[str],
    columns: tuple[str, ...] = _COLUMNS,
) -> Iterator[tuple[Row, str, bytes]]:
    """Yield every fused image with its row and the name of its file, and list those that cannot be read."""
    known: ImageFormat = claim["result"].get("format", "png")
    wanted: ImageFormat = known if config.format == "same" else config.format
    alike = ids_alike(destination.read_columns(["pair_id"])["pair_id"])
    everything = output_schema(tuple(claim["result"].get("metrics", ())))
    schema = pa.schema([everything.field(name) for name in columns])
    for file in destination.pair_files():
        for row in read_as(file, schema).to_pylist():
            if row["status"] != "ok" or not (row["fused"] or row["fused_uri"]):
                continue
            try:
                data = _read(row, destination)
            except OSError as error:
                unreadable.append(f"{row['pair_id']}: {error}")
                continue
            about = {name: value for name, value in row.items() if name not in _WITHIN and value is not None}
            yield (
                about,
                image_name(row["pair_id"], FORMATS[wanted], alike),
                (data if wanted == known else _convert(data, wanted)),
            )


def _read(row: Row, destination: Destination) -> bytes:
    inside: bytes | None = (row["fused"] or {}).get("bytes")
    if inside is not None:
        return inside
    uri = str(row["fused_uri"])
    # DEST may have been moved since; and a row of a DEST that others can write may name anything.
    here = storage.join(destination.images, uri.rpartition("/images/")[2])
    check_inside(here, destination.images)
    return storage.read_bytes(here)


def _convert(data: bytes, image_format: ImageFormat) -> bytes:
    pixels = decode_image(data).pixels
    metadata = read_metadata(data)
    converted = encode_image(pixels, image_format)
    return converted if metadata.is_empty else embed_metadata(converted, metadata, 1 if pixels.ndim == 2 else 3)
