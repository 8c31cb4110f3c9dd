"""How the files of a pair become two arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from upfusion.cameras.sources import SideOptions

Range = TypeVar("Range")


@dataclass(frozen=True)
class PairOptions:
    """How the files of a pair become two arrays; by default as they are stored."""

    a: SideOptions = field(default_factory=SideOptions)
    b: SideOptions = field(default_factory=SideOptions)
    resize_b: bool = False
    """Whether B is scaled to the size of A."""
    metadata: bool = False
    """Whether A's metadata goes along."""

    def of(self, pair_id: str) -> "PairOptions":
        """Return the options of one pair, with the ranges of its folder."""
        if not any("/" in key for side in (self.a, self.b) for key in side.ranges):
            return self
        a, b = (replace(side, ranges=ranges_of(side.ranges, pair_id)) for side in (self.a, self.b))
        return replace(self, a=a, b=b)


def ranges_of(ranges: Mapping[str, Range], pair_id: str) -> dict[str, Range]:
    """Return the ranges of a pair by the kind of its values.

    A key is a kind (`uint16`), or FOLDER/KIND for pairs whose ids begin with FOLDER/, where the longest folder counts.
    """
    found: dict[str, Range] = {}
    for key in sorted(ranges, key=len):
        folder, _, kind = key.rpartition("/")
        if not folder or pair_id.startswith(f"{folder}/"):
            found[kind] = ranges[key]
    return found
