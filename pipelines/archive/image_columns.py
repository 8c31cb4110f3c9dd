"""Parquet files that hold images: columns of bytes, or of structs with `bytes` as in Hugging Face data sets."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.archive.config import ArchiveConfig
from pipelines.archive.sensor_names import SENSORS
from pipelines.errors.exceptions import UsageError
from pipelines.storage.parts import cell_prefix, cell_suffix

_CELL = r"^(?P<file>.*[.]parquet)#row=(?P<row>[0-9]+)&column="


@dataclass(frozen=True)
class ImageColumns:
    """The columns of both sides, and the task where their names say it."""

    a: str
    b: str
    task: str | None


def find_image_columns(uri: str, schema: pa.Schema, archive: ArchiveConfig) -> ImageColumns | None:
    """Find the columns of images by the names of their sensors, or by --a and --b; None for a manifest of URIs.

    Raises UsageError if --a or --b names no column of images, or two columns are of one side.
    """
    if {"a_uri", "b_uri"} <= set(schema.names):
        return None
    there = [field.name for field in schema if _holds_images(field.type)]
    if archive.a is not None and archive.b is not None:
        if unknown := next((name for name in (archive.a, archive.b) if name not in there), None):
            raise UsageError(
                f"{uri} has no column of images {unknown!r}; it has {', '.join(map(repr, there)) or 'none'}"
            )
        return ImageColumns(archive.a, archive.b, None)
    sides = {name: SENSORS[name.lower()] for name in there if name.lower() in SENSORS}
    if {side for side, _ in sides.values()} != {"a", "b"}:
        return None
    if len(sides) > 2:
        raise UsageError(f"{uri} has the columns of images {', '.join(map(repr, sides))}; select two with --a and --b")
    first, second = sorted(sides, key=lambda name: sides[name][0])
    return ImageColumns(first, second, sides[first][1] or sides[second][1])


def image_uris(uri: str, images: ImageColumns, rows: int) -> dict[str, pa.Array]:
    """Return the URIs of the images in every row, as columns a_uri and b_uri."""
    numbers = pa.array(range(rows), pa.int64()).cast(pa.string())
    sides = {"a_uri": images.a, "b_uri": images.b}
    return {
        side: pc.binary_join_element_wise(cell_prefix(uri), numbers, cell_suffix(column), "")
        for side, column in sides.items()
    }


def in_order_of_rows(pairs: pa.Table) -> pa.Table:
    """Sort pairs whose images lie in Parquet files by file and row, so that each page of them is read once."""
    places = pc.extract_regex(pairs["a_uri"], _CELL).combine_chunks()
    if places.null_count == len(places):
        return pairs
    keys = pa.table({"file": pc.struct_field(places, "file"), "row": pc.struct_field(places, "row").cast(pa.int64())})
    return pairs.take(pc.sort_indices(keys, [("file", "ascending"), ("row", "ascending")]))


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_bytes(kind.field(index).type)
    return _is_bytes(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
