"""Taking the fused images of a destination out as files, whatever form they are kept in."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from pipelines.errors.exceptions import UsageError
from pipelines.errors.failures import Row
from pipelines.fuse.destination import Destination
from pipelines.fuse.export_config import ExportConfig
from pipelines.fuse.schemas import output_schema
from pipelines.storage import objects as storage
from pipelines.storage.names import check_inside, ids_alike, image_name
from pipelines.storage.ownership import read_claim
from pipelines.storage.parquet import read_as
from upfusion.cameras.embed import embed_metadata
from upfusion.cameras.metadata import read_metadata
from upfusion.images import FORMATS, ImageFormat, decode_image, encode_image

_COLUMNS = ("pair_id", "status", "fused", "fused_uri")


@dataclass(frozen=True)
class Exported:
    """What was written."""

    count: int = 0
    first: str | None = None
    """The first file written."""
    unreadable: list[str] = field(default_factory=list)
    """Pairs whose image is no longer where its row says, with the reason."""


def export_images(config: ExportConfig, on_progress: Callable[[int], None] = lambda _: None) -> Exported:
    """Write every fused image of a destination into a folder, named after its pair.

    Only files below DEST are read, whatever its rows name. Raises UsageError where no fuse job wrote, and OSError where
    the folder cannot be written.
    """
    destination = Destination(config.destination)
    claim = read_claim(destination.uri)
    files = destination.pair_files()
    if claim is None or not files:
        raise UsageError(f"{destination.uri} holds no rows of a fuse job")
    known: ImageFormat = claim["result"].get("format", "png")
    wanted: ImageFormat = known if config.format == "same" else config.format
    alike = ids_alike(destination.read_columns(["pair_id"])["pair_id"])
    schema = pa.schema([output_schema(()).field(name) for name in _COLUMNS])
    count, first, unreadable = 0, None, list[str]()
    for file in files:
        for row in read_as(file, schema).to_pylist():
            if row["status"] != "ok" or not (row["fused"] or row["fused_uri"]):
                continue
            name = image_name(row["pair_id"], FORMATS[wanted], alike)
            uri = storage.join(storage.absolute(config.to), name)
            check_inside(uri, storage.absolute(config.to))
            try:
                data = _read(row, destination)
            except OSError as error:
                unreadable.append(f"{row['pair_id']}: {error}")
                continue
            storage.write_bytes(uri, data if wanted == known else _convert(data, wanted))
            count, first = count + 1, min(first or uri, uri)
            on_progress(count)
    return Exported(count, first, unreadable)


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
