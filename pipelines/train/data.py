"""The pairs of a training run: discovered, split, each read once before the first step, and recorded.

The list (`data.parquet`) is part of the run: a resumed run uses exactly the pairs that it started with,
whatever was added to the folders since.
"""

import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from pipelines.archive.allowlist import (
    allowlist_from_location,
    allowlist_from_option,
    allowlist_from_source,
    check_allowed,
)
from pipelines.archive.config import ArchiveConfig
from pipelines.archive.discover import discover
from pipelines.archive.load import decode, fetch
from pipelines.archive.rows import size_of
from pipelines.archive.schema import MANIFEST_SCHEMA
from pipelines.archive.splits import TRAIN, VAL, split_of
from pipelines.cluster.dataset import add_tasks, begin_with
from pipelines.errors.exceptions import JobStoppedError, UsageError
from pipelines.errors.failures import FAILURE, STORE_LOST, Row, fail
from pipelines.sources.preparation import AS_THEY_ARE, Preparation
from pipelines.storage import objects as storage
from pipelines.train.config import SMALLEST_CROP, TrainConfig
from upfusion.counted import counted

FOUND = pa.schema(
    [*MANIFEST_SCHEMA, pa.field("root", pa.string()), pa.field("weight", pa.float64()), pa.field("split", pa.string())]
)
CHECKED = pa.schema(
    [
        *FOUND,
        *FAILURE,
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("a_sha256", pa.string()),
        pa.field("b_sha256", pa.string()),
    ]
)
PAIRS_A_BLOCK = 8
WEIGHTED = re.compile(r"(.+)=(\d+(?:\.\d+)?)")
BAD_PAIRS_NAMED = 10
CROP_STEP = 16
"""Sides of crops that are suggested are multiples of it."""


@dataclass(frozen=True)
class TrainingPairs:
    """The usable and the unusable pairs of a run."""

    table: pa.Table
    """CHECKED, in the order of pair ids."""

    def of(self, split: str) -> list[Row]:
        """List the usable pairs of a split."""
        return [row for row in self.table.to_pylist() if row["split"] == split and row["error_code"] is None]

    @property
    def bad(self) -> list[Row]:
        """The unusable pairs, each with its `error`."""
        return [row for row in self.table.to_pylist() if row["error_code"] is not None]

    @property
    def roots(self) -> dict[str, int]:
        """Number of training pairs per root."""
        return dict(Counter(row["root"] for row in self.of(TRAIN)))

    @property
    def digest(self) -> str:
        """SHA-256 of the content and weights of the usable pairs, independent of their location."""
        columns = ("pair_id", "task", "prompt", "weight", "split", "a_sha256", "b_sha256")
        rows = [[row[column] for column in columns] for split in (TRAIN, VAL) for row in self.of(split)]
        return hashlib.sha256(repr(rows).encode()).hexdigest()


def find_pairs(config: TrainConfig) -> pa.Table:
    """Find the pairs of every root and their split (FOUND); raises UsageError if there are none."""
    rows: list[Row] = []
    for label, uri, weight in _labelled(config.data):
        rows += _split(_discover(uri, label, weight, config.allow), config)
    if not any(row["split"] == TRAIN for row in rows):
        raise UsageError("no pairs to train on are left in DATA; see --val-share")
    if config.val:
        found = _discover(config.val, f"val {_name(config.val)}", 1.0, config.allow, option="--val")
        rows = [row for row in rows if row["split"] == TRAIN] + _spread(_for_validation(found), config.val_pairs)
    else:
        held_out = [row for row in rows if row["split"] == VAL]
        rows = [row for row in rows if row["split"] == TRAIN] + _spread(held_out, config.val_pairs)
    return pa.Table.from_pylist(sorted(rows, key=lambda row: row["pair_id"]), FOUND)


def check_known(pairs: TrainingPairs, data: str, config: TrainConfig) -> TrainingPairs:
    """Return the pairs of a resumed run; raises UsageError for one outside the allowlist of DATA."""
    sources = [*(uri for _, uri, _ in _labelled(config.data)), *([config.val] if config.val else [])]
    allowed = (
        *allowlist_from_location(data),
        *(place for source in sources for place in allowlist_from_source(source)),
    )
    rows = pairs.table.select(["pair_id", "a_uri", "b_uri"]).to_pylist()
    named = ((f"pair {row['pair_id']!r}: {side}", row[side]) for row in rows for side in ("a_uri", "b_uri"))
    check_allowed(data, named, (*allowed, *allowlist_from_option(config.allow)))
    return pairs


def check_pairs(
    found: pa.Table,
    config: TrainConfig,
    on_progress: Callable[[int, int], None],
    preparation: Preparation = AS_THEY_ARE,
) -> TrainingPairs:
    """Read and decode every pair on the cluster, so that none fails hours into the run."""
    blocks = [found.slice(start, PAIRS_A_BLOCK) for start in range(0, found.num_rows, PAIRS_A_BLOCK)]
    limits = {"max_bytes": config.max_bytes, "max_pixels": config.max_pixels}
    check = partial(_check, crop=config.crop, preparation=preparation, **limits)
    graph = add_tasks(begin_with(blocks), check)
    checked = []
    on_progress(0, found.num_rows)
    for block in graph.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        assert isinstance(block, pa.Table)
        checked.append(block)
        on_progress(sum(map(len, checked)), found.num_rows)
        stop_if_lost(block)
    return TrainingPairs(pa.concat_tables(checked).sort_by("pair_id"))


def stop_if_lost(checked: pa.Table) -> None:
    """Raise JobStoppedError if a store was unavailable or rejected the credentials; no pair is to blame."""
    if lost := [row["error"] for row in checked.to_pylist() if row["error_code"] == STORE_LOST]:
        raise JobStoppedError(
            f"{lost[0]}. Nothing is wrong with the pairs; rerun the same command once that is repaired."
        )


def refuse_bad(pairs: TrainingPairs, config: TrainConfig) -> None:
    """Raise UsageError, listing unusable pairs, unless they may be skipped and some are left."""
    bad = pairs.bad
    named = "\n".join(f"  {row['error']}" for row in bad[:BAD_PAIRS_NAMED])
    if len(bad) > BAD_PAIRS_NAMED:
        named += f"\n  and {len(bad) - BAD_PAIRS_NAMED} more"
    if bad and config.bad_data == "refuse":
        raise UsageError(
            f"{len(bad)} of {counted(len(pairs.table), 'pair')} cannot be used:\n{named}\n"
            f"Repair or remove them, or skip them with --bad-data skip{_smaller_crops(bad)}."
        )
    if not pairs.of(TRAIN):
        raise UsageError(f"none of the pairs to train on can be used{_smaller_crops(bad)}:\n{named}")


def _smaller_crops(bad: list[Row]) -> str:
    """Return with which --crop the pairs that are too small can be used, as the end of a sentence."""
    sides = [min(row["width"], row["height"]) for row in bad if row["error_code"] == "smaller_than_crop"]
    crop = min(sides, default=0) // CROP_STEP * CROP_STEP
    return f"; --crop {crop} takes those that are too small" if crop >= SMALLEST_CROP else ""


def _check(pairs: pa.Table, crop: int, preparation: Preparation, max_bytes: int, max_pixels: int) -> pa.Table:
    """Return the size and SHA-256s of every pair in a block, or why it is unusable."""
    fetched = fetch(pairs.select(MANIFEST_SCHEMA.names), max_bytes)
    digests = [[_sha256(row["a_file"]), _sha256(row["b_file"])] for row in fetched]
    rows = pairs.to_pylist()
    decoded = decode(fetched, max_pixels, preparation.options, preparation.register).to_pylist()
    for row, seen, (a_sha256, b_sha256) in zip(rows, decoded, digests, strict=True):
        row |= {name: seen[name] for name in ("error_code", "error")}
        row |= {"a_sha256": a_sha256, "b_sha256": b_sha256, "width": None, "height": None}
        if seen["a"]:
            row |= {name: seen["a"][name] for name in ("width", "height")}
            if row["split"] == TRAIN and min(row["width"], row["height"]) < crop:
                size = size_of(seen["a"])
                fail(row, "smaller_than_crop", f"the images are {size} pixels, smaller than a crop of {crop} (--crop)")
        if row["error"]:
            row["error"] = f"{row['pair_id']}: {row['error']}"
    return pa.Table.from_pylist(rows, CHECKED)


def _sha256(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()


def _labelled(data: tuple[str, ...]) -> list[tuple[str, str, float]]:
    """Return a unique name, the URI and the weight of every root."""
    roots = []
    for given in data:
        weighted = WEIGHTED.fullmatch(given)
        uri, weight = (weighted[1], float(weighted[2])) if weighted else (given, 1.0)
        if not weight:
            raise UsageError(f"DATA {given}: a weight of 0 samples no pair; remove the root instead")
        roots.append((uri, weight))
    taken = Counter(_name(uri) for uri, _ in roots)
    labels = [_name(uri) if taken[_name(uri)] == 1 else f"{_name(uri)}#{n}" for n, (uri, _) in enumerate(roots, 1)]
    return [(label, uri, weight) for label, (uri, weight) in zip(labels, roots, strict=True)]


def _name(uri: str) -> str:
    return posixpath.splitext(posixpath.basename(storage.absolute(uri)))[0]


def _discover(uri: str, label: str, weight: float, allow: tuple[str, ...], option: str = "DATA") -> list[Row]:
    try:
        pairs = discover(ArchiveConfig(source=uri, allow=allow)).pairs.to_pylist()
    except UsageError as error:
        raise UsageError(f"{option} {str(error).removeprefix('SOURCE ')}") from error
    return [
        row | {"pair_id": f"{label}/{row['pair_id']}", "root": label, "weight": weight, "split": None} for row in pairs
    ]


def _folder_of(row: Row) -> str | None:
    """Return the split that a pair's path names."""
    return split_of(row["pair_id"].partition("/")[2])


def _split(rows: list[Row], config: TrainConfig) -> list[Row]:
    """Assign the pairs of a root to splits; pairs of neither are dropped."""
    folders = {_folder_of(row) for row in rows}
    for row in rows:
        row["split"] = _folder_of(row) if TRAIN in folders else TRAIN
    if VAL not in folders and not config.val:
        train = [row for row in rows if row["split"] == TRAIN]
        # The last by name, not every n-th: neighbouring frames of a recording would leak into validation.
        for row in train[len(train) - round(config.val_share * len(train)) :]:
            row["split"] = VAL
    return [row for row in rows if row["split"] in (TRAIN, VAL)]


def _for_validation(rows: list[Row]) -> list[Row]:
    """Take the pairs of a folder val; without one, all that are not for training."""
    folders = {_folder_of(row) for row in rows}
    wanted = {VAL} if VAL in folders else folders - {TRAIN}
    return [row | {"split": VAL} for row in rows if _folder_of(row) in wanted]


def _spread(rows: list[Row], most: int) -> list[Row]:
    step = max(1.0, len(rows) / most)
    return [rows[int(position * step)] for position in range(min(len(rows), most))]
