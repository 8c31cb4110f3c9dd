"""Blocks of pairs as they travel through the fuse graph, made for tests."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from pipelines.archive.schema import MANIFEST_SCHEMA

MARKER = "marker-that-nobody-may-see"


def noise(height: int, width: int, *channels: int, seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, (height, width, *channels), endpoint=True).astype(dtype)


def encoded(pixels: np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def manifest(**sources: tuple[str, str]) -> pa.Table:
    rows = [{"pair_id": i, "a_uri": a, "b_uri": b, "task": "ir_visible"} for i, (a, b) in sources.items()]
    return pa.Table.from_pylist(rows, MANIFEST_SCHEMA)


def errors(block: pa.Table | list[dict[str, Any]]) -> dict[str, tuple[str | None, str | None]]:
    rows = block if isinstance(block, list) else block.to_pylist()
    return {row["pair_id"]: (row["error_code"], row["error"]) for row in rows}


def raising(error: Exception) -> Callable[..., Any]:
    def raise_it(*_: object, **__: object) -> None:
        raise error

    return raise_it
