"""How the files of a pair become two arrays."""

from dataclasses import dataclass, field

from upfusion.cameras.sources import SideOptions


@dataclass(frozen=True)
class PairOptions:
    """How the files of a pair become two arrays; by default as they are stored."""

    a: SideOptions = field(default_factory=SideOptions)
    b: SideOptions = field(default_factory=SideOptions)
    resize_b: bool = False
    """Whether B is scaled to the size of A."""
    metadata: bool = False
    """Whether A's metadata goes along."""
