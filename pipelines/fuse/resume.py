"""What a fuse job finds in its output folder: whether it may go there, and which pairs are done."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.cluster.destination_lock import SHARD_PATIENCE, own_destination
from pipelines.errors.failures import Rows
from pipelines.fuse.destination import Destination, Finished
from pipelines.fuse.footage.cuts import Recordings, find_uncut, split_recordings
from pipelines.fuse.footage.segment_files import lost_segments
from pipelines.fuse.plan import Plan
from pipelines.sources.ranges import agree_on_ranges


def check_claims(plan: Plan, destination: Destination) -> None:
    """Raise DifferentSettingsError if DEST, or that of all shards, was made with other settings; nothing is written."""
    defaults = plan.config.result_defaults()
    destination.is_claimed(plan.run, defaults)
    if plan.config.shard:
        Destination(plan.config.out).is_claimed(plan.run_of_all_shards, defaults)


def claim(plan: Plan, destination: Destination, notify: Callable[[str], None]) -> Plan:
    """Claim DEST, and return the plan with its ranges: those of all shards, which agree on them one after the other.

    Raises DifferentSettingsError if DEST was made with other settings, and OSError.
    """
    defaults = plan.config.result_defaults()
    if plan.config.shard:
        of_all = Destination(plan.config.out)
        kind = f"fuse job that starts shard {plan.config.part}"
        with own_destination(of_all.uri, kind, notify, patience=SHARD_PATIENCE):
            of_all.claim(plan.run_of_all_shards, defaults)
            plan = plan.with_ranges(agree_on_ranges(of_all.uri, plan.ranges))
    destination.claim(plan.run, defaults)
    return plan.with_ranges(agree_on_ranges(destination.uri, plan.ranges))


@dataclass(frozen=True)
class DestinationState:
    """What DEST has of the pairs of a plan."""

    images: pa.Table
    """The pairs of images that were found in SOURCE."""
    manifest: pa.Table
    finished: Finished
    recordings: Recordings
    """Those whose segments are not known yet."""
    damaged: tuple[str, ...]
    digest: str
    """Of the names of all pairs."""


def prepare_destination(plan: Plan, destination: Destination) -> DestinationState:
    """Read DEST, without the rows that are to be made again: failed ones to be retried, those of lost segments."""
    config = plan.config
    if plan.rigs is not None:
        destination.keep_rigs(plan.rigs.to_json())
    finished = destination.finished()
    damaged = finished.damaged
    if config.retry_failed and finished.failed:
        destination.remove_failed(finished)
        finished = destination.finished()
    images, wanted = split_recordings(plan.found.pairs)
    manifest = destination.merge_manifest(images)
    lost = lost_segments(destination, config, manifest, finished)
    if len(lost):
        destination.remove_rows(finished, lost)
        finished = destination.finished()
    recordings = find_uncut(wanted, manifest, finished, destination, wanted_only=config.limit is not None)
    return DestinationState(images, manifest, finished, recordings, damaged, _digest_of(manifest, wanted))


def _digest_of(manifest: pa.Table, recordings: Rows) -> str:
    """Return the digest of the names of all pairs, of recordings as a whole: these may not be cut yet."""
    listed = pc.coalesce(manifest["recording"], manifest["pair_id"]).chunks
    names = pc.unique(pa.chunked_array([*listed, pa.array([row["pair_id"] for row in recordings], pa.string())]))
    names = names.take(pc.sort_indices(names))
    digest = hashlib.sha256()
    for start in range(0, len(names), 10_000):
        ids = names.slice(start, 10_000).to_pylist()
        digest.update(("\n" * (start > 0) + "\n".join(ids)).encode())
    return digest.hexdigest()
