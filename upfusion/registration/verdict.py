"""Is an archive registered? Eight pairs together say so far better than each of them alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from upfusion.counted import counted
from upfusion.registration.cells import Round
from upfusion.registration.coordinates import concentric, corner_distance
from upfusion.registration.estimate import (
    FINISHING,
    LEAST_SCORES,
    Estimate,
    find_start,
    least_score,
    pooled_score,
    refine,
    same_sizes,
)
from upfusion.registration.views import PairOfViews

PAIRS = 8
"""Pairs, spread over an archive, that a verdict needs."""
LEAST_GAIN = 1.12
"""Aligned archives gain 0.99 to 1.11 by being aligned again, those displaced by 8 px 1.23 and more."""

_LEAST_OF_MANY = 0.18
"""Of four different pairs or more: started where they lie, other scenes stay below it. A rig needs 0.25."""

_ROUNDS = (
    Round(320, 96, 48, 18, "similarity"),
    Round(320, 64, 32, 12, "homography"),
    Round(640, 96, 48, 10, "homography"),
)


@dataclass(frozen=True)
class Verdict:
    """Whether the pairs of an archive are registered, as far as can be told."""

    state: str
    """`aligned`, `unaligned`, or `unknown`: nothing makes these pairs agree."""
    before: float
    """How well the pairs agree as they are (`pooled_score`)."""
    after: float
    """How well they agree with the best transform that was found."""
    displacement: float | None
    """How far A's corners are displaced, in pixels of A; None where unknown."""
    pairs: int

    @property
    def unaligned(self) -> bool:
        """Tell whether a rig should be estimated."""
        return self.state == "unaligned"

    @property
    def gain(self) -> float:
        """Return by which factor the best transform raises the agreement."""
        return self.after / max(self.before, 1e-3)

    def describe(self) -> str:
        """Say it in one sentence."""
        match self.state:
            case "aligned":
                return f"registered, as far as {counted(self.pairs, 'pair')} show{'s' * (self.pairs == 1)}"
            case "unaligned":
                return f"unaligned by about {self.displacement:.0f} px"
            case _:
                return "cannot be determined: A and B have too few edges in common, or do not show the same scene"


def archive_verdict(views: Sequence[PairOfViews], search: bool = True) -> Verdict:
    """Judge an archive by pairs spread over it, eight for a good verdict; about 1 s on one core.

    With `search`, pairs that do not agree where they lie are searched for larger displacements, which takes some
    seconds more. Raises RigError without pairs. Medical modalities have no common edges and must not be judged.
    """
    pairs = same_sizes(views)
    a, b = pairs[0]
    start = concentric(a.size, b.size)
    before, least = pooled_score(pairs, start), least_score(pairs)
    found = refine(pairs, Estimate(start, before), _ROUNDS)
    found = replace(found, score=pooled_score(pairs, found.matrix))
    if found.score < least and search:
        far = refine(pairs, find_start(pairs), FINISHING)
        far = replace(far, score=pooled_score(pairs, far.matrix))
        found = max(found, far, key=lambda estimate: estimate.score)
    if found.score < (_LEAST_OF_MANY if least == LEAST_SCORES[0][1] else least):
        return Verdict("unknown", before, found.score, None, len(pairs))
    away = found.score >= LEAST_GAIN * before
    displaced = corner_distance(start, found.matrix, a.size) if away else 0.0
    return Verdict("unaligned" if away else "aligned", before, found.score, displaced, len(pairs))
