"""One range of values for a whole archive: sampled once, kept in run.json, the same after a resume and as it grows."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.archive import formats
from pipelines.sources.config import ValueFields
from pipelines.storage import objects as storage
from pipelines.storage.ownership import read_claim, write_claim
from upfusion.cameras.pair_options import PairOptions
from upfusion.cameras.radiometric import radiometric_kind
from upfusion.cameras.ranges import SMALL_PART, RangeChoice, ValueRange, part_of_scale, range_of
from upfusion.cameras.sources import SideOptions, read_radiometric_pair, read_source, sample_for_range
from upfusion.image_guard import MAX_PIXELS

Ranges = dict[str, dict[str, str | None]]
"""By side and kind of values LOW:HIGH, or None for the full scale; the form they have in run.json.

A kind is that of all pairs (`uint16`), or of those whose ids begin with a folder (`street/uint16`).
"""

Sample = tuple[str, NDArray[np.float64]]
"""The kind of a source's values, and some of them."""

OF_EARLIER_VERSIONS: Ranges = {side: {"uint8": None, "uint16": None} for side in "ab"}
"""The ranges of a run.json that names none: everything was on its full scale."""

FILES_SAMPLED = 48
RECORDINGS_SAMPLED = 6
_HEAD = 1 << 16
_TOGETHER = 8


@dataclass(frozen=True)
class Limits:
    """What is read of a sample."""

    max_bytes: int | None = None
    max_pixels: int = MAX_PIXELS
    frames: Callable[[str], Iterator[Sample]] = lambda _: iter(())
    """Samples of frames of a recording; none where a job takes no recordings."""


def pair_options(config: ValueFields, ranges: Ranges, *, metadata: bool = False) -> PairOptions:
    """Say how the files of a pair become arrays."""
    known = {side: _parsed(ranges.get(side, {})) for side in "ab"}
    return PairOptions(
        a=SideOptions(RangeChoice.parse(config.range_a), known["a"]),
        b=SideOptions(
            RangeChoice.parse(config.range_b), known["b"], config.polarity_b == "black-hot", config.palette_b
        ),
        resize_b=config.resize == "b-to-a",
        metadata=metadata,
    )


def _parsed(ranges: Mapping[str, str | None]) -> dict[str, ValueRange | None]:
    return {kind: None if text is None else ValueRange.parse(text) for kind, text in ranges.items()}


def kept_ranges(claim: dict[str, Any] | None) -> Ranges:
    """Return the ranges that a run.json holds: none yet without one, full scales in that of an earlier version."""
    if claim is None:
        return {"a": {}, "b": {}}
    ranges: Ranges = claim.get("ranges", OF_EARLIER_VERSIONS)
    return ranges


def sample_ranges(
    pairs: pa.Table, config: ValueFields, known: Ranges, limits: Limits, folders: Collection[str] = ()
) -> Ranges:
    """Return the ranges of an archive: the known ones, and for kinds of values that these lack, sampled ones.

    Of `folders`, which the ids of the pairs begin with, each gets ranges of its own: they are of other cameras.
    """
    ranges = {side: dict(known.get(side, {})) for side in "ab"}
    options = pair_options(config, known)
    for side, chosen in (("a", options.a), ("b", options.b)):
        if chosen.choice.needs_sample:
            sampled = _sampled_by_folder(pairs, side, chosen, limits, folders)
            # What is known of all pairs, from one range for all, stays.
            ranges[side] |= {key: one for key, one in sampled.items() if not {key, _kind(key)} & ranges[side].keys()}
    return ranges


def agree_on_ranges(uri: str, ranges: Ranges) -> Ranges:
    """Return the ranges of a claimed DEST, after adding those it has none of yet: of kinds that came in later.

    Where another job has claimed DEST meanwhile, with a sample of its own, its ranges count.
    """
    there = read_claim(uri)
    if there is None or "ranges" not in there:
        return ranges
    merged = {side: ranges[side] | there["ranges"].get(side, {}) for side in "ab"}
    if merged != there["ranges"]:
        write_claim(uri, there | {"ranges": merged})
    return merged


def _sampled_by_folder(
    pairs: pa.Table, side: str, options: SideOptions, limits: Limits, folders: Collection[str]
) -> dict[str, str | None]:
    if not folders:
        return _sampled(pairs, side, options, limits)
    found: dict[str, str | None] = {}
    for folder in folders:
        below = pairs.filter(pc.starts_with(pairs["pair_id"], f"{folder}/"))
        found |= {f"{folder}/{kind}": one for kind, one in _sampled(below, side, options, limits).items()}
    return found


def _kind(key: str) -> str:
    return key.rpartition("/")[2]


def _sampled(pairs: pa.Table, side: str, options: SideOptions, limits: Limits) -> dict[str, str | None]:
    samples: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for kind, sample in _samples(pairs, side, options, limits):
        samples[kind].append(sample)
    found: dict[str, str | None] = {}
    for kind, several in samples.items():
        if not any(sample.size for sample in several):
            continue
        taken = range_of(several, options.choice.percentiles)
        # Of 8 bits, cameras make use; of 16, an image that was made for looking at.
        kept = options.choice.kind == "auto" and (kind == "uint8" or part_of_scale(taken, kind) > SMALL_PART)
        found[kind] = None if kept else str(taken)
    return found


def _samples(pairs: pa.Table, side: str, options: SideOptions, limits: Limits) -> Iterator[Sample]:
    uris, partners = pairs[f"{side}_uri"].to_pylist(), pairs["b_uri" if side == "a" else "a_uri"].to_pylist()
    images = [at for at, uri in enumerate(uris) if not formats.is_recording(uri)]
    recordings = [uri for uri in uris if formats.is_recording(uri)]
    chosen = [images[place] for place in _spread(len(images), FILES_SAMPLED)]
    with ThreadPoolExecutor(max_workers=16) as pool:
        may_be_deep = list(pool.map(_may_be_deep, (uris[at] for at in chosen)))
    deep = [at for at, is_deep in zip(chosen, may_be_deep, strict=True) if is_deep or options.choice.kind == "percent"]
    for start in range(0, len(deep), _TOGETHER):
        group = deep[start : start + _TOGETHER]
        for at, data in zip(group, storage.read_many([uris[at] for at in group], limits.max_bytes), strict=True):
            if isinstance(data, bytes):
                yield from _image_samples(data, uris[at] == partners[at], side, options, limits)
    for uri in (recordings[place] for place in _spread(len(recordings), RECORDINGS_SAMPLED)):
        yield from limits.frames(uri)


def _spread(count: int, most: int) -> list[int]:
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))}) if count else []


def _may_be_deep(uri: str) -> bool:
    """Tell by its header whether an image may have more than 8 bits; damage is reported where it is decoded."""
    try:
        head = storage.read_head(uri, _HEAD)
    except OSError:
        return False
    is_deep_png = head[:8] == b"\x89PNG\r\n\x1a\n" and head[24:25] == b"\x10"
    return is_deep_png or head[:2] in (b"II", b"MM") or radiometric_kind(head) == "flir"


def _image_samples(data: bytes, is_both: bool, side: str, options: SideOptions, limits: Limits) -> Iterator[Sample]:
    try:
        if is_both and radiometric_kind(data) == "flir":
            source = read_radiometric_pair(data, limits.max_pixels)[0 if side == "a" else 1]
        else:
            source = read_source(data, side.upper(), limits.max_pixels)
        yield sample_for_range(source, options)
    except Exception:  # noqa: BLE001 - errors of an image are reported in its own row
        return


def with_ranges(run: dict[str, Any], ranges: Ranges) -> dict[str, Any]:
    """Return what DEST is claimed with, with its ranges."""
    return run | {"ranges": {side: dict(sorted(ranges[side].items())) for side in "ab"}}
