"""From a sensor's values (counts, degrees) to grey levels: which values become black and white.

A thermal camera writes 16-bit counts of which an ordinary scene uses one or two hundredths, or degrees as floats. One
range for a whole archive keeps brightness comparable between its images and free of flicker in recordings.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from upfusion.color import Pixels

Values = NDArray[Any]
"""Sensor values `(H, W)`, or an image `(H, W, 3)`, of any integer or floating type."""

RangeKind = Literal["full", "fixed", "percent", "auto", "per-image"]
Unit = Literal["C", "K"]

AUTO_PERCENTILES = (0.1, 99.9)
"""What `auto` and `per-image` map to black and white. A person is more than 0.1 % of an image, dead pixels less."""

SMALL_PART = 0.25
"""`auto` leaves 16-bit values alone that span more of their scale than this."""

NOTED_PART = 0.1
"""Full-scale input that spans less of its scale gets a note."""

_SAMPLE = 1 << 16  # pixels of an image that statistics look at
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_FIXED = re.compile(rf"({_NUMBER})\s*([CK]?)\s*:\s*({_NUMBER})\s*([CK]?)")
_PERCENT = re.compile(rf"percent:({_NUMBER}):({_NUMBER})")
_EXPECTED = "expected full, auto, per-image, LOW:HIGH (22000:23200, 20C:40C) or percent:LOW:HIGH (percent:0.5:99.5)"


@dataclass(frozen=True)
class RangeChoice:
    """What `--range-a` and `--range-b` ask for."""

    kind: RangeKind
    low: float = 0.0
    high: float = 0.0
    unit: Unit | None = None
    """The temperature scale of a fixed range, None for the file's own values."""

    @classmethod
    def parse(cls, text: str) -> "RangeChoice":
        """Read `full`, `auto`, `per-image`, `LOW:HIGH` (also `20C:40C`, `293K:313K`) or `percent:LOW:HIGH`.

        Raises ValueError.
        """
        if text in ("full", "auto", "per-image"):
            return cls(text)  # type: ignore[arg-type]
        if match := _PERCENT.fullmatch(text):
            low, high = float(match[1]), float(match[2])
            if not 0 <= low < high <= 100:
                raise ValueError(f"percentiles must rise between 0 and 100, got {text!r}")
            return cls("percent", low, high)
        if match := _FIXED.fullmatch(text):
            low, high = float(match[1]), float(match[3])
            if match[2] != match[4]:
                raise ValueError(f"both ends of a range have the same unit, got {text!r}")
            if not (low < high and math.isfinite(low) and math.isfinite(high)):
                raise ValueError(f"a range rises from LOW to HIGH, got {text!r}")
            return cls("fixed", low, high, match[2] or None)  # type: ignore[arg-type]
        raise ValueError(f"{_EXPECTED}, got {text!r}")

    @property
    def percentiles(self) -> tuple[float, float]:
        """The percentiles that become black and white, where the choice is not fixed or full."""
        return (self.low, self.high) if self.kind == "percent" else AUTO_PERCENTILES

    @property
    def needs_sample(self) -> bool:
        """Whether one range of the archive's own values is meant."""
        return self.kind in ("auto", "percent")


@dataclass(frozen=True)
class ValueRange:
    """The values that become black and white."""

    low: float
    high: float

    def __str__(self) -> str:
        """Return LOW:HIGH, as `RangeChoice.parse` reads it."""
        return self.text(None)

    def text(self, unit: Unit | None) -> str:
        """Return LOW:HIGH with a unit, if there is one: 20C:40C."""
        return f"{self.low:.10g}{unit or ''}:{self.high:.10g}{unit or ''}"

    @classmethod
    def parse(cls, text: str) -> "ValueRange":
        """Read what `str` gives; raises ValueError."""
        choice = RangeChoice.parse(text)
        if choice.kind != "fixed" or choice.unit:
            raise ValueError(f"expected LOW:HIGH, got {text!r}")
        return cls(choice.low, choice.high)


def kind_of(values: Values) -> str:
    """Name the kind of values that can share a range: their scale is the same (`uint8`, `uint16`, `int16`, ...).

    Floats of both sizes are `float`.
    """
    return "float" if values.dtype.kind == "f" else str(values.dtype)


def has_own_scale(values: Values) -> bool:
    """Tell whether black and white of these values are known: they are for unsigned 8 and 16 bits alone."""
    return values.dtype in (np.uint8, np.uint16)


def sample_of(values: Values) -> NDArray[np.float64]:
    """Return finite values of an image that stand for all of it, at most 65,536 on a regular grid."""
    step = max(1, math.ceil(math.sqrt(values.shape[0] * values.shape[1] / _SAMPLE)))
    chosen = values[step // 2 :: step, step // 2 :: step].astype(np.float64).ravel()
    return chosen[np.isfinite(chosen)]


def range_of(samples: Iterable[NDArray[np.float64]], percentiles: tuple[float, float] = AUTO_PERCENTILES) -> ValueRange:
    """Reduce samples of many images to one range, each image counting the same however large it is.

    Raises ValueError where no sample holds a finite value. Equal values get a range of one unit around them.
    """
    known = [sample for sample in samples if sample.size]
    if not known:
        raise ValueError("no image holds a finite value to take a range from")
    values = np.concatenate(known)
    weights = np.concatenate([np.full(sample.size, 1 / sample.size) for sample in known])
    low, high = np.percentile(values, percentiles, weights=weights, method="inverted_cdf")
    return _widened(float(low), float(high))


def _widened(low: float, high: float) -> ValueRange:
    return ValueRange(low, high) if high > low else ValueRange(low - 0.5, low + 0.5)


def part_of_scale(found: ValueRange, kind: str) -> float:
    """Return how much of the scale of its kind a range spans, 0 to 1; 0 for a kind without a scale of its own."""
    top = {"uint8": 255, "uint16": 65535}.get(kind)
    return (found.high - found.low) / top if top else 0.0


def apply_range(values: Values, found: ValueRange, *, black_hot: bool = False) -> Pixels:
    """Map values to 16-bit grey levels (8-bit ones stay at 8 bits): `low` to 0, `high` to the top, the rest is clipped.

    NaN becomes the low end. With `black_hot` the result is inverted, so that hot is white.
    """
    dtype: Any = np.uint8 if values.dtype == np.uint8 else np.uint16
    top = np.iinfo(dtype).max
    scale = top / (found.high - found.low)
    if values.dtype in (np.uint8, np.uint16):
        levels = np.arange(int(np.iinfo(values.dtype).max) + 1, dtype=np.float64)
        table = np.rint(np.clip((levels - found.low) * scale, 0, top)).astype(dtype)
        mapped: Pixels = table[values]
    else:
        known = np.nan_to_num(values.astype(np.float64), nan=found.low, posinf=found.high, neginf=found.low)
        mapped = np.rint(np.clip((known - found.low) * scale, 0, top)).astype(dtype)
    return invert(mapped) if black_hot else mapped


def invert(pixels: Pixels) -> Pixels:
    """Turn black-hot into white-hot, and back."""
    inverted: Pixels = np.iinfo(pixels.dtype).max - pixels
    return inverted


def note_on_scale(pixels: Values, side: str) -> str | None:
    """Say that an image on its full scale uses less than a tenth of it, or None."""
    if pixels.dtype != np.uint16:
        return None
    sample = sample_of(pixels)
    if not sample.size:
        return None
    low, high = np.percentile(sample, AUTO_PERCENTILES)
    part = (high - low) / 65535
    if part >= NOTED_PART:
        return None
    return (
        f"{side} uses {100 * part:.2g} % of its 16-bit scale ({low:.0f} to {high:.0f}); "
        f"--range-{side.lower()} auto stretches it"
    )
