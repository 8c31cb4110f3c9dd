"""What the scores of single pairs say of an archive: how many are not registered, and by how much."""

from dataclasses import dataclass

import pyarrow.compute as pc

from pipelines.fuse.destination import Destination
from pipelines.fuse.plan import Plan
from pipelines.rigs.estimate import judge_archive
from upfusion.registration.alignment import THRESHOLD
from upfusion.registration.verdict import Verdict

_MANY = 0.2
"""Share of pairs below the threshold from which on eight of them are judged together."""
_NAMED = 5


@dataclass(frozen=True)
class ArchiveAlignment:
    """How many pairs of a destination have a score, and which are not registered."""

    scored: int
    flagged: int
    worst: tuple[str, ...]
    """Ids of the pairs with the lowest scores below the threshold."""
    verdict: Verdict | None
    """Of eight pairs together, where many are flagged and no rig was used."""
    with_rig: bool

    def describe(self, arguments: str) -> str | None:
        """Say what there is to say, None where all is well; `arguments` are those of SOURCE on a command line."""
        if not self.flagged:
            return None
        summary = f"{self.flagged} of {self.scored} pairs are not registered (alignment below {THRESHOLD}: "
        summary += ", ".join(self.worst) + (", ...)" if self.flagged > len(self.worst) else ")")
        if self.with_rig:
            return summary + "; with this rig: has a camera moved since it was estimated?"
        if self.verdict is None or not self.verdict.unaligned:
            return summary
        advice = f"estimate a rig with `upfusion align {arguments} --out rig.json`"
        return f"{summary}; together {self.verdict.describe()}: {advice}"


def sum_up_alignment(destination: Destination, plan: Plan) -> ArchiveAlignment | None:
    """Count the pairs that are not registered; None where none has a score."""
    rows = destination.read_columns(["pair_id", "alignment"])
    rows = rows.filter(pc.is_valid(rows["alignment"]))
    if not rows.num_rows:
        return None
    low = rows.filter(pc.less(rows["alignment"], THRESHOLD)).sort_by("alignment")
    with_rig, many = plan.rigs is not None, low.num_rows > _MANY * rows.num_rows
    verdict = judge_archive(plan.found.pairs, plan.config.max_pixels) if many and not with_rig else None
    worst = tuple(low["pair_id"].slice(0, _NAMED).to_pylist())
    return ArchiveAlignment(rows.num_rows, low.num_rows, worst, verdict, with_rig)
