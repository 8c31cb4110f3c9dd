"""What a run cost: the price of the machine or cluster, and how much it fused for it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Price:
    """The price of what one run fused, in whatever currency `per_hour` is in."""

    per_hour: float
    seconds: float
    """How long the run took, start included."""
    fused: int
    """Pairs, or frames of recordings where there are any."""
    unit: str
    """What `fused` counts: pairs or frames."""

    @property
    def total(self) -> float:
        """The price of the run."""
        return self.per_hour * self.seconds / 3600

    @property
    def fused_per_currency_unit(self) -> float:
        """Pairs, or frames, that one unit of currency pays for."""
        return self.fused / self.total

    def describe(self) -> str:
        """Say both."""
        per_unit = self.fused_per_currency_unit
        bought = f"{per_unit:,.0f}" if per_unit >= 100 else f"{per_unit:.3g}"
        return f"{bought} {self.unit} per unit of currency; this run {self.total:.3g}, at {self.per_hour:g} per hour"


def price_of(per_hour: float | None, seconds: float, pairs: int, frames: int) -> Price | None:
    """Return what a run cost; None without a price, or where it fused nothing."""
    fused, unit = (frames, "frames") if frames else (pairs, "pairs")
    return Price(per_hour, seconds, fused, unit) if per_hour and fused else None
