"""Which files a fuse job may read: those of its SOURCE, and of a destination to which others may have write access."""

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.archive.allowlist import (
    Allowlist,
    MayRead,
    allowlist_from_location,
    allowlist_from_option,
    allowlist_from_source,
    check_allowed,
    is_allowed,
)
from pipelines.fuse.destination import Destination, as_job_manifest
from pipelines.fuse.plan import Plan


def check_others(todo: pa.Table, plan: Plan, destination: Destination) -> None:
    """Check the pairs that are only in DEST, to which others may have write access.

    Raises UsageError for one outside the allowlists of SOURCE and of a manifest in DEST.
    """
    known = plan.found.pairs["pair_id"].combine_chunks()
    rows = as_job_manifest(todo)
    of = pc.coalesce(rows["recording"], rows["pair_id"])
    others = rows.filter(pc.invert(pc.is_in(of, value_set=known))).select(["pair_id", "a_uri", "b_uri"]).to_pylist()
    named = ((f"pair {row['pair_id']!r}: {side}", row[side]) for row in others for side in ("a_uri", "b_uri"))
    check_allowed(destination.manifest, named, _allowed(plan, destination))


def _allowed(plan: Plan, destination: Destination) -> Allowlist:
    sources = plan.config.source, plan.config.source_b
    by_source = (place for source in sources if source for place in allowlist_from_source(source))
    return (*allowlist_from_location(destination.manifest), *by_source, *allowlist_from_option(plan.config.allow))


def may_read(plan: Plan, destination: Destination) -> MayRead:
    """Return a predicate: which URIs in rows of DEST may be read."""
    allowed = _allowed(plan, destination)
    sides = [plan.found.pairs[side] for side in ("a_uri", "b_uri")]
    return lambda uri: is_allowed(uri, allowed) or any(pc.index(side, uri).as_py() >= 0 for side in sides)
