"""What guides the fusion of a pair beside its text: its balance and its colour rule."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from upfusion.color import ColorRule, color_rule


@dataclass(frozen=True)
class Guide:
    """What a job says of all pairs, which the row of a pair may say otherwise."""

    balance: float = 0.0
    color: Literal["auto"] | ColorRule = "auto"

    def balance_of(self, row: Mapping[str, Any]) -> float:
        """Return the balance of a pair: that of its row in the manifest, else that of the job."""
        given = row["balance"]
        return self.balance if given is None else float(given)

    def color_of(self, row: Mapping[str, Any]) -> ColorRule:
        """Return the colour rule of a pair: that of the job, or what suits the pair's task."""
        return color_rule(row["task"]) if self.color == "auto" else self.color
