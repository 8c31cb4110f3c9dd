"""Files become pairs by the places that their names give them."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from pathlib import PurePosixPath

import pyarrow as pa

from pipelines.archive import formats as footage
from pipelines.archive.camera_names import Placement, Side, find_radiometric
from pipelines.archive.config import ArchiveConfig
from pipelines.archive.manifest import check_count, empty_shard
from pipelines.archive.schema import DEFAULT_TASK, MANIFEST_SCHEMA, Discovery
from pipelines.errors.exceptions import UsageError
from upfusion.counted import counted
from upfusion.file_names import is_hidden, is_image_name


def pair_files(
    source: str,
    names: dict[str, str],
    place: Callable[[str], Placement | None],
    archive: ArchiveConfig,
    recordings: bool,
) -> Discovery:
    """Pair files (their URIs, with their names below SOURCE).

    Raises UsageError for two files in one place, for names that are not UTF-8, and if there is no pair.
    """
    found = _Pairs(archive)
    unplaced: dict[str, str] = {}
    ignored = 0
    for uri, name in names.items():
        is_image = is_image_name(name)
        is_source = is_image or (recordings and not is_hidden(name) and footage.is_recording(name))
        placement = place(name) if is_source else None
        if placement is None:
            ignored += 1
            if is_image:
                unplaced[name] = uri
        elif is_image and recordings and archive.frame_rate:
            found.add_frame(uri, placement)
        else:
            found.add(uri, placement)
    if not found.sides and archive.a is None and archive.source_b is None:
        radiometric = find_radiometric(unplaced)
        ignored -= len(radiometric)
        for name in radiometric:
            found.add_both(unplaced[name], name[: len(name) - len(PurePosixPath(name).suffix)])
    check_count(source, len(found.sides), archive.max_pairs)
    _check_ids(source, found.sides, archive.max_id)
    pairs, unpaired = found.table(), found.unpaired()
    if not pairs.num_rows:
        elsewhere = found.in_other_shards
        message = empty_shard(source, archive) if elsewhere else _no_pairs(source, archive, len(unpaired), ignored)
        raise UsageError(message)
    return Discovery(pairs, unpaired, ignored)


def check_utf8(uri: str) -> None:
    """Raise UsageError for a file whose name is not UTF-8."""
    try:
        uri.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the name of {os.fsencode(uri)!r} is not UTF-8; rename the file") from error


class _Pairs:
    """The pairs of one shard, while the files of an archive are assigned to them."""

    def __init__(self, archive: ArchiveConfig) -> None:
        self.archive, self.part = archive, archive.part
        self.sides: dict[str, dict[Side, str]] = defaultdict(dict)
        self.tasks: dict[str, str] = {}
        self.in_other_shards = 0

    def add(self, uri: str, placement: Placement) -> None:
        """Add a file; raises UsageError if its place is taken by another one."""
        pair_id, side, task = placement
        check_utf8(uri)
        if not self.part.contains(pair_id):
            self.in_other_shards += 1
            return
        there = self.sides[pair_id].setdefault(side, uri)
        if there != uri:
            raise UsageError(
                f"two files claim side {side.upper()} of pair {pair_id!r}: {there} and {uri}{_look_alike(there, uri)}. "
                "Keep one of them, point SOURCE at a smaller folder, or select one with --a and --b."
            )
        if task:
            self.tasks[pair_id] = task

    def add_frame(self, uri: str, placement: Placement) -> None:
        """Add the folder of a frame, which is the recording."""
        pair_id, side, task = placement
        check_utf8(uri)
        self.add(uri.rpartition("/")[0] + "/", (pair_id.rpartition("/")[0] or "recording", side, task))

    def add_both(self, uri: str, pair_id: str) -> None:
        """Add a file that is A and B."""
        for side in ("a", "b"):
            self.add(uri, (pair_id, side, None))

    def table(self) -> pa.Table:
        """Return those of both sides, sorted by pair_id (MANIFEST_SCHEMA)."""
        complete = sorted(pair_id for pair_id, uris in self.sides.items() if len(uris) == 2)
        tasks = (self.archive.task or self.tasks.get(pair_id, DEFAULT_TASK) for pair_id in complete)
        columns = {
            "pair_id": complete,
            "a_uri": [self.sides[pair_id]["a"] for pair_id in complete],
            "b_uri": [self.sides[pair_id]["b"] for pair_id in complete],
            "task": list(tasks),
            "prompt": [None] * len(complete),
            "balance": [None] * len(complete),
        }
        return pa.table(columns, schema=MANIFEST_SCHEMA)

    def unpaired(self) -> list[str]:
        """Return the files without a partner, sorted."""
        return sorted(uri for uris in self.sides.values() if len(uris) == 1 for uri in uris.values())


def _look_alike(first: str, second: str) -> str:
    alike = unicodedata.normalize("NFC", first) == unicodedata.normalize("NFC", second)
    return ", whose names differ only in Unicode normalization (NFC and NFD)" if alike else ""


def _check_ids(source: str, ids: dict[str, dict[Side, str]], most: int) -> None:
    if long := next((pair_id for pair_id in ids if len(pair_id.encode()) > most), None):
        raise UsageError(f"{source}: the id of pair {long!r} has {len(long.encode())} bytes, more than --max-id {most}")


def _no_pairs(source: str, archive: ArchiveConfig, unpaired: int, ignored: int) -> str:
    if archive.source_b is not None:
        return (
            f"{source}: no file of one has the path and name of a file of the other, apart from the extension "
            f"({counted(unpaired, 'image')}, {counted(ignored, 'other file')}). For any other naming use a "
            "manifest, or give their common folder with --a PATTERN --b PATTERN or --pair-by."
        )
    if archive.a is not None:
        looked_for = f"no pairs match --a {archive.a!r} and --b {archive.b!r}"
    else:
        looked_for = "no pairs in sub-folders such as visible + infrared, vi + ir, a + b or ct + mri"
    return (
        f"{source}: {looked_for} ({counted(unpaired, 'image')} without a partner, {counted(ignored, 'other file')}). "
        "Paired files share path and name apart from the sensor folder and the extension; "
        "for any other naming use --a PATTERN --b PATTERN, or a manifest."
    )
