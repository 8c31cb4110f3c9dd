"""A rig: two cameras mounted together, and the transform from B's pixels to A's. It is kept as small, readable JSON."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upfusion.registration.coordinates import Matrix, Points, Size, apply, normalised
from upfusion.registration.cubic_field import CubicField

_DECIMALS = 12


class RigError(ValueError):
    """A rig cannot be read, does not fit, or cannot be estimated; the message says what to do."""


@dataclass(frozen=True)
class Rig:
    """The transform from B's pixels to A's for a pair of cameras, exact at one distance.

    What A shows at a point `p` is in B at `inverse(matrix) (p + field(p))`; points are pixel centres, `(0, 0)` being
    the centre of the upper left pixel.
    """

    a_size: Size
    """Width and height of A, in pixels."""
    b_size: Size
    matrix: Matrix
    """Homography `(3, 3)` from B's pixels to A's."""
    field: CubicField | None = None
    """Smooth distortion beyond the matrix, where it improves pairs that it was not fitted to."""
    pairs: int = 0
    """Pairs that the transform was estimated from; 0 for a calibration that was made elsewhere."""
    score: float | None = None
    """How well gradients of A and of the warped B agree, pooled over the pairs: 0.36 and more for true rigs, at most
    0.2 for pairs of other scenes. None where it was not measured."""
    uncertainty: float | None = None
    """Mean distance, over what B sees of A, between the transforms of two halves of the pairs, in pixels of A."""
    overlap: float | None = None
    """Share of A's field of view that B sees, 0 to 1."""
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """How the transform was made: method, version, pairs."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", normalised(self.matrix))

    def to_b(self, points: Points) -> Points:
        """Return where points `(..., 2)` of A are seen in B."""
        moved = points if self.field is None else points + self.field.at(points, self.a_size)
        return apply(np.linalg.inv(self.matrix), moved)

    def to_a(self, points: Points) -> Points:
        """Return where points `(..., 2)` of B are seen in A; the inverse of `to_b` to a hundredth of a pixel."""
        target = apply(self.matrix, points)
        if self.field is None:
            return target
        found = target
        for _ in range(8):
            found = target - self.field.at(found, self.a_size)
        return found

    def digest(self) -> str:
        """Return a digest of what changes a warped pixel: sizes, matrix and field, not how they were found."""
        return hashlib.sha256(json.dumps(_transform(self), sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Return the rig as JSON text, a line per field."""
        values = {
            **_transform(self),
            "pairs": self.pairs,
            "score": _rounded(self.score, 4),
            "uncertainty": _rounded(self.uncertainty, 3),
            "overlap": _rounded(self.overlap, 4),
            "provenance": dict(self.provenance),
        }
        lines = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in values.items())
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> "Rig":
        """Read what `to_json` wrote. Raises RigError naming the field that is missing or wrong."""
        values = parse_object(text)
        return cls(
            a_size=_size(values, "a_size"),
            b_size=_size(values, "b_size"),
            matrix=_checked_matrix(values),
            field=_checked_field(values.get("field")),
            pairs=int(_number(values, "pairs") or 0),
            score=_number(values, "score"),
            uncertainty=_number(values, "uncertainty"),
            overlap=_number(values, "overlap"),
            provenance=values.get("provenance") or {},
        )

    def save(self, path: str | Path) -> None:
        """Write the rig as JSON."""
        Path(path).write_text(self.to_json())

    def describe(self) -> str:
        """Say in one line what the rig does and how sure it is."""
        parts = [f"B {self.b_size[0]}x{self.b_size[1]} onto A {self.a_size[0]}x{self.a_size[1]}"]
        if self.overlap is not None:
            parts.append(f"B sees {self.overlap:.0%} of A")
        if self.score is not None:
            parts.append(f"score {self.score:.2f}")
        if self.uncertainty is not None:
            parts.append(f"two halves of the pairs agree within {self.uncertainty:.2f} px")
        if self.field is not None:
            parts.append("with a field for lens distortion")
        return ", ".join(parts)


def parse_object(text: str) -> dict[str, Any]:
    """Parse the JSON object of a rig, or of several. Raises RigError for anything else."""
    try:
        values = json.loads(text)
    except ValueError as error:
        raise RigError(f"expected a rig as JSON, got something else: {error}") from None
    if not isinstance(values, dict):
        raise RigError(f"expected a rig as a JSON object, got {type(values).__name__}")
    return values


def _transform(rig: Rig) -> dict[str, Any]:
    distortion = rig.field and {"x": _rounded_all(rig.field.x), "y": _rounded_all(rig.field.y)}
    return {
        "a_size": list(rig.a_size),
        "b_size": list(rig.b_size),
        "matrix": [_rounded_all(row) for row in rig.matrix.tolist()],
        "field": distortion,
    }


def _rounded_all(values: NDArray[np.float64] | tuple[float, ...] | list[float]) -> list[float]:
    return [round(float(value), _DECIMALS) for value in values]


def _rounded(value: float | None, decimals: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, decimals)


def _size(values: dict[str, Any], name: str) -> Size:
    size = values.get(name)
    if not (isinstance(size, list) and len(size) == 2 and all(isinstance(n, int) and 0 < n < 1 << 20 for n in size)):
        raise RigError(f"a rig's {name}: expected [width, height] in pixels, got {size!r}")
    return size[0], size[1]


def _number(values: dict[str, Any], name: str) -> float | None:
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RigError(f"a rig's {name}: expected a number, got {value!r}")
    return float(value)


def _checked_matrix(values: dict[str, Any]) -> Matrix:
    try:
        return normalised(values.get("matrix"))  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise RigError(f"a rig's matrix: {error}") from None


def _checked_field(value: Any) -> CubicField | None:
    if value is None:
        return None
    try:
        x, y = (tuple(float(number) for number in value[axis]) for axis in ("x", "y"))
    except (TypeError, KeyError, ValueError):
        raise RigError("a rig's field: expected an object with x and y, ten numbers each") from None
    if len(x) != 10 or len(y) != 10 or not np.isfinite([*x, *y]).all():
        raise RigError(f"a rig's field: expected ten finite numbers for x and for y, got {len(x)} and {len(y)}")
    return CubicField(x, y)
