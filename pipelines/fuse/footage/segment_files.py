"""The files of fused segments: removed once their recording is joined, because they take as much space as it does."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors.failures import Row
from pipelines.fuse.destination import Destination, Finished, without
from pipelines.fuse.footage.concat import about_uri, is_whole, segment_uri
from pipelines.fuse.footage.config import FootageConfig
from pipelines.storage import objects as storage


def remove_segments(destination: Destination, config: FootageConfig, pair_ids: Iterable[str]) -> None:
    """Delete the fused segments of these ids; a missing one is fine."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(storage.delete, [segment_uri(destination, name, config) for name in pair_ids]))
    if not storage.is_remote(destination.uri):
        _remove_empty_folders(Path(destination.segments))


def remove_joined(destination: Destination, config: FootageConfig, recordings: list[Row], manifest: pa.Table) -> None:
    """Delete what is left of the segments of recordings that are joined whole, as after a job that was killed.

    `recordings` are their descriptions; with `--keep-segments` nothing is deleted.
    """
    if config.keep_segments:
        return
    whole = pa.array([one["recording"] for one in recordings if is_whole(one)], pa.string())
    if len(whole) and (there := set(storage.list_files(destination.segments))):
        ids = manifest.filter(pc.is_in(manifest["recording"], value_set=whole))["pair_id"].to_pylist()
        remove_segments(destination, config, [i for i in ids if segment_uri(destination, i, config) in there])


def lost_segments(destination: Destination, config: FootageConfig, manifest: pa.Table, finished: Finished) -> pa.Array:
    """Return the ids of segments that were fused, whose file is gone, and whose recording is to be joined.

    They have to be fused again: a person deleted them, or the joined recording with its description, or rows of other
    segments of that recording are lost.
    """
    known = manifest.filter(pc.is_valid(manifest["start_pts"]))
    undone = set(without(known, finished.ids)["recording"].to_pylist())
    ok = finished.rows.filter(finished.rows["ok"])["pair_id"].combine_chunks()
    known = known.filter(pc.is_in(known["pair_id"], value_set=ok)).select(["recording", "pair_id"])
    if not known.num_rows:
        return pa.array([], pa.string())
    described = set(storage.list_files(destination.recordings))
    names = [
        name
        for name in known["recording"].unique().to_pylist()
        if name in undone or about_uri(destination, name) not in described
    ]
    ids = known.filter(pc.is_in(known["recording"], value_set=pa.array(names, pa.string())))["pair_id"].to_pylist()
    there = set(storage.list_files(destination.segments)) if ids else set()
    return pa.array([i for i in ids if segment_uri(destination, i, config) not in there], pa.string())


def _remove_empty_folders(folder: Path) -> None:
    for inner in sorted(folder.glob("**/"), reverse=True):
        try:
            inner.rmdir()
        except OSError:  # segments of another recording are in there, or are about to be
            continue
