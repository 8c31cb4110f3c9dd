"""Estimate the rigs of an archive, and judge whether it needs any."""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors.exceptions import UsageError
from pipelines.rigs.load import Viewed, load_views, spread
from upfusion.registration.alignment import UNJUDGED
from upfusion.registration.camera_names import ALL
from upfusion.registration.estimate import estimate_from_views
from upfusion.registration.rig import Rig
from upfusion.registration.rig_set import RigSet
from upfusion.registration.verdict import PAIRS as PAIRS_FOR_VERDICT
from upfusion.registration.verdict import Verdict, archive_verdict

PAIRS = 32
"""Pairs per camera that a rig is estimated from by default: 8 s on one core."""

_NAMES_KEPT = 64


def estimate_rig_of(viewed: Sequence[Viewed]) -> Rig:
    """Estimate the rig of one camera from its prepared pairs; raises RigError."""
    return estimate_from_views([one.views for one in viewed], [one.pair_id for one in viewed][:_NAMES_KEPT])


def settle(rigs: Mapping[str, Rig], refused: Mapping[str, str], per: str | None) -> RigSet:
    """Return the rigs of an archive from those of its cameras, and why others have none.

    Raises UsageError when no camera has a rig, or the only one has none.
    """
    if rigs and not (refused and per is None):
        return RigSet(rigs, per)
    reasons = (f"{camera}: {why}" if camera != ALL else why for camera, why in refused.items())
    raise UsageError("; ".join(reasons) or "SOURCE holds no pairs that a rig could be estimated from")


def judge_archive(pairs: pa.Table, max_pixels: int, *, search: bool = True) -> Verdict | None:
    """Judge whether the pairs of images of an archive are registered, from eight of them, in one to some seconds.

    None where nothing can be said: medical tasks, recordings, images that cannot be read.
    """
    judged = pairs.filter(pc.invert(pc.is_in(pairs["task"], value_set=pa.array(sorted(UNJUDGED)))))
    views = [one.views for one in load_views(spread(judged, PAIRS_FOR_VERDICT), max_pixels)]
    usable = [(a, b) for a, b in views if all(level.std() > 0 for level in (a.levels[-1], b.levels[-1]))]
    return archive_verdict(usable, search) if usable else None
