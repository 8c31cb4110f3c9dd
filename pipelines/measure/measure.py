"""Measuring existing fused images: three files, or three folders of them."""

import posixpath
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.archive.schema import DEFAULT_TASK, MANIFEST_SCHEMA
from pipelines.errors.exceptions import UsageError
from pipelines.errors.failures import Row
from pipelines.measure.config import MeasureConfig
from pipelines.measure.summary import Undefined, count_undefined, summarise
from pipelines.sources.preparation import Preparation
from pipelines.sources.ranges import Limits, kept_ranges, sample_ranges
from pipelines.sources.settings import SourceSettings, find_rigs, settings_of_run
from pipelines.storage import objects as storage
from pipelines.storage.ownership import read_claim
from upfusion.color import Pixels, luma8
from upfusion.file_names import is_image_name
from upfusion.images import decode_image
from upfusion.metrics import explain_undefined, measure


@dataclass(frozen=True)
class Triplet:
    """The URIs of both sources and the fused image."""

    name: str
    a: str
    b: str
    fused: str


@dataclass(frozen=True)
class Measured:
    """The values of one triplet; None where a metric is undefined, and no values if it failed."""

    triplet: Triplet
    values: dict[str, float | None]
    reasons: dict[str, str] = field(default_factory=dict)
    """Why a metric has no value, by its name."""
    error: str | None = None


@dataclass(frozen=True)
class Measurement:
    """The result of a measurement."""

    measured: list[Measured]
    left_out: list[str] = field(default_factory=list)
    """URIs of images without partners."""

    @property
    def summary(self) -> dict[str, dict[str, float]]:
        """Mean, p5, p50 and p95 of every metric over the measured triplets."""
        names = dict.fromkeys(name for one in self.measured for name in one.values)
        return summarise({name: self._known(name) for name in names})

    @property
    def undefined(self) -> dict[str, Undefined]:
        """On how many measured triplets a metric has no value, and why."""
        return count_undefined(one.reasons for one in self.measured)

    def _known(self, name: str) -> NDArray[np.float64]:
        values = (one.values.get(name) for one in self.measured)
        return np.array([value for value in values if value is not None])

    @property
    def failed(self) -> list[Measured]:
        """The triplets that could not be measured."""
        return [one for one in self.measured if one.error]


def measure_images(config: MeasureConfig, on_progress: Callable[[int, int], None] | None = None) -> Measurement:
    """Measure every fused image against its sources; `on_progress` gets done and total.

    Raises UsageError if there is nothing to measure; an unreadable image fails its triplet only.
    """
    job = _job_of(config)
    triplets, left_out = _find(config, is_job=job is not None)
    preparation = (job or _settings(config, triplets)).preparation
    measured = []
    for triplet in triplets:
        measured.append(_measure(triplet, preparation, config.metrics))
        if on_progress:
            on_progress(len(measured), len(triplets))
    return Measurement(measured, left_out)


def _job_of(config: MeasureConfig) -> SourceSettings | None:
    """Return how the fuse job prepared its pairs whose DEST is given as FUSED; None where that is no DEST."""
    uri = storage.absolute(config.fused)
    try:
        run = read_claim(uri)
    except (OSError, ImportError, UsageError):
        return None  # what is wrong is said when it is listed; a run.json may be anybody's
    if run is None:
        return None
    if given := config.given_settings:
        raise UsageError(
            f"{', '.join(given)}: FUSED is the DEST of a fuse job, whose run.json says how A and B were prepared; "
            f"leave that out, or give {storage.join(config.fused, 'images')}"
        )
    return settings_of_run(uri, run)


def _settings(config: MeasureConfig, triplets: list[Triplet]) -> SourceSettings:
    rows = [_row(one) | {"prompt": None, "balance": None} for one in triplets]
    pairs = pa.Table.from_pylist(rows, MANIFEST_SCHEMA)
    ranges = sample_ranges(pairs, config, kept_ranges(None), Limits())
    return SourceSettings(config, ranges, find_rigs(config, pairs))


def _row(triplet: Triplet) -> Row:
    return {"pair_id": triplet.name, "a_uri": triplet.a, "b_uri": triplet.b, "task": DEFAULT_TASK}


def _find(config: MeasureConfig, *, is_job: bool) -> tuple[list[Triplet], list[str]]:
    places = {"a": config.a, "b": config.b, "fused": _images_of_a_job(config.fused) if is_job else config.fused}
    found = {option: _list(option, uri) for option, uri in places.items()}
    single = [option for option, files in found.items() if files == [storage.absolute(places[option])]]
    if len(single) == len(places):
        a, b, fused = (files[0] for files in found.values())
        return [Triplet(PurePosixPath(fused).name, a, b, fused)], []
    if single:
        raise UsageError(f"{single[0].upper()} is a file, the others are not; give three files or three folders")
    named = {option: _by_name(option, storage.absolute(places[option]), files) for option, files in found.items()}
    common = _common_names(named)
    if not common:  # ids of an archive start with folders above those that are given, such as test/
        named = {option: _below_common_folder(files) for option, files in named.items()}
        common = _common_names(named)
    if not common:
        raise UsageError("no image has the same path and name in all three folders")
    left_out = sorted(uri for files in named.values() for name, uri in files.items() if name not in common)
    return [Triplet(name, *(files[name] for files in named.values())) for name in common], left_out


def _common_names(named: dict[str, dict[str, str]]) -> list[str]:
    return sorted(set.intersection(*(set(files) for files in named.values())))


def _below_common_folder(files: dict[str, str]) -> dict[str, str]:
    """Name files by what follows the folder that all of them lie in."""
    folder = posixpath.commonpath([posixpath.dirname(name) for name in files]) if files else ""
    return {posixpath.relpath(name, folder or "."): uri for name, uri in files.items()}


def _images_of_a_job(uri: str) -> str:
    """Return the folder of images of a fuse job's destination."""
    images = storage.join(uri, "images")
    if not storage.list_files(images):
        raise UsageError(
            f"FUSED {uri} keeps its images inside the rows; `upfusion export {uri} --to FOLDER` writes them as files, "
            "and its rows have metrics already"
        )
    return images


def _list(option: str, uri: str) -> list[str]:
    try:
        files = storage.list_files(uri)
    except (OSError, ImportError) as error:
        raise UsageError(f"{option.upper()} {uri} cannot be read: {storage.redact(str(error))}") from error
    if not files:
        raise UsageError(f"{option.upper()} {uri}: no such file, and no files in such a folder")
    return files


def _by_name(option: str, folder: str, files: list[str]) -> dict[str, str]:
    depth = len(folder.split("/"))
    named: dict[str, str] = {}
    for uri in files:
        path = PurePosixPath(*uri.split("/")[depth:])
        if not is_image_name(str(path)):
            continue
        # macOS stores names in another Unicode normalization form than other systems.
        name = unicodedata.normalize("NFC", str(path.with_suffix("")))
        if name in named:
            raise UsageError(f"{option.upper()} has two images named {name!r}: {named[name]} and {uri}")
        named[name] = uri
    return named


def _measure(triplet: Triplet, preparation: Preparation, metrics: tuple[str, ...]) -> Measured:
    row = _row(triplet) | {"error_code": None, "error": None}
    try:
        row |= {f"{side}_file": storage.read_bytes(row[f"{side}_uri"]) for side in "ab"}
        pair, fused = preparation.pair(row), _read(triplet.fused)
    except (OSError, ImportError, ValueError) as error:
        return Measured(triplet, {}, error=storage.redact(str(error)))
    if pair is None:
        return Measured(triplet, {}, error=storage.redact(row["error"]))
    a, b = pair
    sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (a, b, fused)]
    if len(set(sizes)) > 1:
        sentence = f"the images differ in size: A {sizes[0]}, B {sizes[1]}, fused {sizes[2]} pixels"
        return Measured(triplet, {}, error=sentence)
    lumas = _luma(a), _luma(b), _luma(fused)
    values = {name: value for name, (value,) in measure(*lumas, metrics).items()}
    reasons = {name: explain_undefined(*lumas, name)[0] for name, value in values.items() if value is None}
    return Measured(triplet, values, reasons)


def _read(uri: str) -> Pixels:
    data = storage.read_bytes(uri)
    try:
        return decode_image(data).pixels
    except Exception as error:  # whatever a decoder raises
        raise ValueError(f"{uri}: {error}") from error


def _luma(image: Pixels) -> Tensor:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.from_numpy(luma8(image))[None, None].to(device)
