"""Estimate the rigs of an archive, and judge whether it needs any."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors.exceptions import UsageError
from pipelines.rigs.load import Viewed, load_views, spread
from upfusion.counted import counted
from upfusion.registration.alignment import UNJUDGED
from upfusion.registration.camera_names import ALL
from upfusion.registration.estimate import estimate_from_views
from upfusion.registration.rig import Rig, RigError
from upfusion.registration.rig_set import RigSet
from upfusion.registration.verdict import PAIRS as PAIRS_FOR_VERDICT
from upfusion.registration.verdict import Verdict, archive_verdict

PAIRS = 32
"""Pairs per camera that a rig is estimated from by default: 8 s on one core."""

_NAMES_KEPT = 64


@dataclass(frozen=True)
class Estimated:
    """Rigs, and the pairs they were estimated from."""

    rigs: RigSet
    pairs: Mapping[str, Sequence[Viewed]]
    """By camera."""
    refused: Mapping[str, str]
    """Why cameras have no rig."""


def estimate_rigs(
    sampled: Mapping[str, Sequence[Viewed]],
    per: str | None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Estimated:
    """Estimate one rig per camera from prepared pairs. Raises UsageError when no camera has one."""
    rigs: dict[str, Rig] = {}
    refused: dict[str, str] = {}
    for camera, pairs in sampled.items():
        on_progress(f"estimating the rig{f' of {camera}' if camera != ALL else ''} from {counted(len(pairs), 'pair')}")
        try:
            names = [one.pair_id for one in pairs][:_NAMES_KEPT]
            rigs[camera] = estimate_from_views([one.views for one in pairs], names)
        except RigError as error:
            refused[camera] = str(error)
    if not rigs:
        reasons = "; ".join(f"{camera}: {why}" if camera != ALL else why for camera, why in refused.items())
        raise UsageError(reasons or "SOURCE holds no pairs that a rig could be estimated from")
    if refused and per is None:
        raise UsageError(next(iter(refused.values())))
    return Estimated(RigSet(rigs, per), sampled, refused)


def sample(pairs: pa.Table, count: int, per: str | None, max_pixels: int) -> dict[str, list[Viewed]]:
    """Load pairs of images spread over an archive, by camera."""
    return {camera: load_views(chosen, max_pixels) for camera, chosen in spread(pairs, count, per).items()}


def judge_archive(pairs: pa.Table, max_pixels: int, *, search: bool = True) -> Verdict | None:
    """Judge whether the pairs of images of an archive are registered, from eight of them, in one to some seconds.

    None where nothing can be said: medical tasks, recordings, images that cannot be read.
    """
    judged = pairs.filter(pc.invert(pc.is_in(pairs["task"], value_set=pa.array(sorted(UNJUDGED)))))
    views = [one.views for one in load_views(spread(judged, PAIRS_FOR_VERDICT).get(ALL, []), max_pixels)]
    usable = [(a, b) for a, b in views if all(level.std() > 0 for level in (a.levels[-1], b.levels[-1]))]
    return archive_verdict(usable, search) if usable else None
