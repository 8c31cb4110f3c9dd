"""The stages that measure: fetch a pair and its fused images, then decode, fuse (baselines) and measure each."""

import time
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipelines.archive.load import fetch_failure
from pipelines.archive.rows import milliseconds_since
from pipelines.errors.failures import Row, fail
from pipelines.evaluate.detection.detect import Detector, DetectorConfig, load_detector
from pipelines.evaluate.rows import FAILED, FETCHED, OK, measured_schema
from pipelines.sources.preparation import AS_THEY_ARE, Preparation
from pipelines.storage import objects as storage
from pipelines.storage.schema_version import SCHEMA_VERSION
from upfusion.baselines import BASELINES, COPIES
from upfusion.color import Pixels, color_rule, exchange_luma, luma8
from upfusion.images import MAX_PIXELS, ImageError, decode_image, is_named_as
from upfusion.metrics import METRICS_VERSION, explain_undefined, measure


def fetch_fusions(work: pa.Table, max_bytes: int | None = None) -> pa.Table:
    """Read the files of a block concurrently, none of more than `max_bytes`: both sources and every fused image."""
    rows = work.to_pylist()
    named = [_files_of(row) for row in rows]
    distinct = list(dict.fromkeys(uri for uris in named for uri in uris))
    contents = dict(zip(distinct, storage.read_many(distinct, max_bytes), strict=True))
    for row, uris in zip(rows, named, strict=True):
        row["files"] = [_file(uri, contents[uri]) for uri in uris]
    return pa.Table.from_pylist(rows, FETCHED)


class MeasureActor:
    """Measures every fusion of the pairs of a block, which are prepared as their set is, on one device."""

    def __init__(
        self,
        metrics: tuple[str, ...],
        threads: int,
        on_gpu: bool,
        detector: tuple[DetectorConfig, bytes] | None = None,
        max_pixels: int = MAX_PIXELS,
        preparations: Mapping[str, Preparation] | None = None,
    ) -> None:
        torch.set_num_threads(threads)
        self.preparations = preparations or {}
        self.metrics = metrics
        self.max_pixels = max_pixels
        self.device = torch.device("cuda" if on_gpu else "cpu")
        self.detector: Detector | None = None
        if detector:
            config, weights = detector
            self.detector = load_detector(config, weights, device=self.device)

    def __call__(self, block: pa.Table) -> pa.Table:
        """Measure a block; whatever cannot be read or measured becomes a row with an error."""
        rows = [row for pair in block.to_pylist() for row in self._measure_pair(pair)]
        return pa.Table.from_pylist(rows, measured_schema(self.metrics))

    def _measure_pair(self, pair: Row) -> list[Row]:
        files = {file["uri"]: file for file in pair["files"]}
        common = {name: pair[name] for name in ("set", "pair_id", "task")} | {"error_code": None, "error": None}
        a, b = self._prepared(pair, files, common) or (None, None)
        return [self._row(common | fusion, files, a, b, detect=pair["detect"]) for fusion in pair["fusions"]]

    def _prepared(self, pair: Row, files: dict[str, Row], common: Row) -> tuple[Pixels, Pixels] | None:
        """Return A and B as they are judged; on failure `common` gets the error."""
        named = {"a_file": files[pair["a_uri"]], "b_file": files[pair["b_uri"]]}
        if lost := next((file for file in named.values() if file["error_code"]), None):
            fail(common, lost["error_code"], lost["error"])
            return None
        row = {name: pair[name] for name in ("pair_id", "task", "a_uri", "b_uri")} | {"error_code": None, "error": None}
        row |= {name: file["data"] for name, file in named.items()}
        found = self.preparations.get(pair["set"], AS_THEY_ARE).pair(row, self.max_pixels)
        if found is None:
            fail(common, row["error_code"], row["error"])
        return found

    def _row(self, row: Row, files: dict[str, Row], a: Pixels | None, b: Pixels | None, *, detect: bool) -> Row:
        if not row["error_code"]:
            assert a is not None
            assert b is not None
            try:
                fused = self._measure(row, files, a, b)
                if detect and self.detector and fused is not None:
                    row["detections"] = self.detector.detect(fused).tolist()
            except Exception as error:  # noqa: BLE001  # whatever one image does to a metric is its row's failure
                fail(row, "measure_failed", f"{row['uri'] or row['baseline']}: {type(error).__name__}: {error}")
        return row | {"status": FAILED if row["error_code"] else OK, "schema_version": SCHEMA_VERSION}

    def _measure(self, row: Row, files: dict[str, Row], a: Pixels, b: Pixels) -> Pixels | None:
        """Measure one fusion and return its image; None if its file is unusable."""
        if row["baseline"]:
            started = time.perf_counter()
            fused: Pixels | None = fuse_by_baseline(row["baseline"], a, b, row["task"])
            row["fuse_ms"] = None if row["baseline"] in COPIES else milliseconds_since(started)
        else:
            fused = _decode(files[row["uri"]], row, self.max_pixels)
            if fused is None or not _check_sizes(row, row["uri"], fused, a):
                return None
            row["note"] = _note(row["uri"], files[row["uri"]]["data"], fused, a)
        assert fused is not None
        started = time.perf_counter()
        lumas = self._luma(a), self._luma(b), self._luma(fused)
        values = {name: value for name, (value,) in measure(*lumas, self.metrics).items()}
        row |= values | {"height": a.shape[0], "width": a.shape[1], "metrics_version": METRICS_VERSION}
        row["why_none"] = [
            (name, explain_undefined(*lumas, name)[0]) for name, value in values.items() if value is None
        ]
        row["measure_ms"] = milliseconds_since(started)
        return fused

    def _luma(self, image: Pixels) -> Tensor:
        return torch.from_numpy(luma8(image))[None, None].to(self.device)


def fuse_by_baseline(name: str, a: Pixels, b: Pixels, task: str) -> Pixels:
    """Return the image of a baseline, in A's colour by the rule of its task; copies are unchanged."""
    if name in COPIES:
        return {"a": a, "b": b}[name]
    return exchange_luma(a, BASELINES[name](luma8(a), luma8(b)) / np.float32(255), rule=color_rule(task))


def _files_of(row: Row) -> list[str]:
    uris = [row["a_uri"], row["b_uri"], *(fusion["uri"] for fusion in row["fusions"])]
    return list(dict.fromkeys(uri for uri in uris if uri))


def _file(uri: str, content: bytes | Exception) -> Row:
    if isinstance(content, Exception):
        code, sentence = fetch_failure(uri, content)
        return {"uri": uri, "data": None, "error_code": code, "error": sentence}
    return {"uri": uri, "data": content, "error_code": None, "error": None}


def _decode(file: Row, row: Row, max_pixels: int) -> Pixels | None:
    """Decode a fetched file; on failure the row gets the error."""
    if file["error_code"]:
        fail(row, file["error_code"], file["error"])
        return None
    try:
        return decode_image(file["data"], max_pixels).pixels
    except ImageError as error:
        fail(row, error.code, f"{file['uri']}: {error}")
    except Exception as error:  # noqa: BLE001  # whatever a decoder raises is its row's failure
        fail(row, "damaged_image", f"{file['uri']}: {type(error).__name__}: {error}")
    return None


def _check_sizes(row: Row, uri: str, image: Pixels, a: Pixels) -> bool:
    if image.shape[:2] == a.shape[:2]:
        return True
    sizes = [f"{pixels.shape[1]}x{pixels.shape[0]}" for pixels in (image, a)]
    fail(row, "size_mismatch", f"{uri} is {sizes[0]} pixels, A is {sizes[1]}")
    return False


def _note(uri: str, data: bytes, fused: Pixels, a: Pixels) -> str | None:
    """Return a note on an unusual fused image that can be measured nevertheless."""
    notes = []
    if a.ndim == 3 and (fused.ndim == 2 or not _is_coloured(fused)) and _is_coloured(a):
        notes.append("grey, and A is in colour")
    if not is_named_as(data, uri):
        notes.append("its extension names a different format than its content")
    return "; ".join(notes) or None


def _is_coloured(image: Pixels) -> bool:
    return image.ndim == 3 and bool((image != image[..., :1]).any())
