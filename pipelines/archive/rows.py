"""Rows with images in them, as Arrow holds them between the stages."""

import time
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.archive.schema import MANIFEST_SCHEMA
from pipelines.errors.failures import FAILURE
from upfusion.color import Pixels

# 64-bit offsets: a block of decoded images easily passes the 2 GiB of the 32-bit type.
IMAGE = pa.struct(
    [
        ("data", pa.large_binary()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("channels", pa.int32()),
        ("bits", pa.int32()),
    ]
)

CAMERA = [
    pa.field("range_a", pa.string()),
    pa.field("range_b", pa.string()),
    pa.field("palette", pa.string()),
    pa.field("taken_at", pa.string()),
    pa.field("latitude", pa.float64()),
    pa.field("longitude", pa.float64()),
    pa.field("altitude", pa.float64()),
    pa.field("camera", pa.string()),
]
"""What a row says of its sources: the values that became black and white (LOW:HIGH; null for the full scale), the
palette that B's colours were in, and when, where and with what A was taken."""

METADATA = pa.struct([(name, pa.binary()) for name in ("exif", "geo", "xmp", "icc")])
"""What of A's metadata goes into the fused image."""

DECODED = pa.schema(
    [
        *MANIFEST_SCHEMA,
        *FAILURE,
        pa.field("note", pa.string()),
        pa.field("a", IMAGE),
        pa.field("b", IMAGE),
        pa.field("rig", pa.string()),
        pa.field("alignment", pa.float64()),
        *CAMERA,
        pa.field("metadata", METADATA),
        pa.field("fetch_ms", pa.float64()),
        pa.field("decode_ms", pa.float64()),
    ]
)


def pack_image(pixels: Pixels) -> dict[str, Any]:
    """Turn an array into an IMAGE value."""
    height, width = pixels.shape[:2]
    return {
        "data": np.ascontiguousarray(pixels).tobytes(),
        "height": height,
        "width": width,
        "channels": 1 if pixels.ndim == 2 else pixels.shape[2],
        "bits": pixels.dtype.itemsize * 8,
    }


def unpack_image(image: dict[str, Any]) -> Pixels:
    """Turn an IMAGE value back into a read-only array `(H, W)` or `(H, W, 3)`."""
    shape = (image["height"], image["width"], image["channels"])
    pixels = np.frombuffer(image["data"], dtype=np.uint8 if image["bits"] == 8 else np.uint16).reshape(shape)
    return pixels[..., 0] if image["channels"] == 1 else pixels


def size_of(image: dict[str, Any]) -> str:
    """Format the size of an IMAGE value as WIDTHxHEIGHT."""
    return f"{image['width']}x{image['height']}"


def milliseconds_since(started: float) -> float:
    """Return the milliseconds since a `time.perf_counter()` reading."""
    return 1000 * (time.perf_counter() - started)
