"""Reference values of the metrics, made with the field's own evaluators."""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from upfusion.metrics import measure

# Larger images are compared in float64 alone, to save time; benchmarks/metrics.py compares both types on such.
LARGEST_IN_FLOAT32 = 2**16
# And larger ones still with methods' fusions alone: means and maxima of small images go the same ways.
LARGEST_WITH_RECIPES = 2**17
# Those of a camera's whole image (from 480x640 on) take half of all the time, and are left to `make chaos`.
LARGEST_IN_EVERY_RUN = 2**18
RECIPES = ("a", "b", "max", "mean")
FOLDER = Path(__file__).parents[4] / "shared" / "oracles"


@dataclass(frozen=True)
class Case:
    """One pair, one way of fusing it, and what a metric must give; None where it has no meaning."""

    a: str
    b: str
    fused: str
    crop: tuple[int, int, int, int] | None
    expected: float | None
    others: Mapping[str, float]  # everything that was measured on this pair and fusion, as the evaluators give it

    def images(self) -> tuple[Tensor, Tensor, Tensor]:
        a, b = image(self.a, self.crop), image(self.b, self.crop)
        recipes = {"a": a, "b": b, "max": torch.maximum(a, b), "mean": ((a + b) / 2 + 0.5).floor()}
        return a, b, recipes[self.fused] if self.fused in recipes else image(self.fused, self.crop)


def oracle(definition: str, convert: Callable[[float], float] = float) -> pytest.MarkDecorator:
    """Give a test every `case` of a definition; `convert` turns the evaluator's value into ours.

    Cases are left out whose value is rounding noise, and recipes of large images; the largest are `extended`.
    """
    if not (FOLDER / "oracles.json").exists():
        missing = pytest.mark.skip(reason=f"no reference values in {FOLDER}")
        return pytest.mark.parametrize("case", [pytest.param(None, marks=missing)])
    rows = [row for row in _rows() if row["metric"] == definition and (row["stable"] is not False or row["degenerate"])]
    rows = [row for row in rows if row["fused"] not in RECIPES or _pixels(row) <= LARGEST_WITH_RECIPES]
    assert rows, f"no case of {definition} in {FOLDER}"
    return pytest.mark.parametrize("case", [_parameter(row, convert) for row in rows])


def _parameter(row: dict[str, Any], convert: Callable[[float], float]) -> Any:
    marks = [pytest.mark.extended] if _pixels(row) > LARGEST_IN_EVERY_RUN else []
    return pytest.param(_case(row, convert), id=row["id"].split("#")[0], marks=marks)


def assert_agrees(name: str, case: Case, rel: float = 1e-9, **others: str) -> None:
    """Compare our metric with the reference in float64 and, small images, to 1e-3 in float32.

    `others` are further metrics of ours, and the definitions that give the same.
    """
    images = case.images()
    expected = {name: case.expected} | {other: case.others[definition] for other, definition in others.items()}
    _assert_equal(measure(*images, expected), expected, case, rel)
    if images[0].numel() <= LARGEST_IN_FLOAT32:
        _assert_equal(measure(*(one.float() for one in images), expected), expected, case, 1e-3)


def _assert_equal(
    values: dict[str, list[float | None]], expected: dict[str, float | None], case: Case, rel: float
) -> None:
    for name, (value,) in values.items():
        if case.expected is None:
            assert value is None, name
        else:
            assert value == pytest.approx(expected[name], rel=rel, abs=1e-12 if rel < 1e-6 else 1e-6), name


@lru_cache
def _rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((FOLDER / "oracles.json").read_text())["cases"]
    return rows


def _pixels(row: dict[str, Any]) -> int:
    height, width = row["crop"][2:] if row["crop"] else _size(row["visible"])
    return int(height * width)


@lru_cache
def _size(path: str) -> tuple[int, int]:
    with Image.open(FOLDER / path) as stored:
        return stored.height, stored.width


@lru_cache
def _others() -> dict[str, dict[str, float]]:
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for row in _rows():
        triplet, metric = row["id"].split("#")
        values[triplet][metric] = float(row["value"])
    return values


def _case(row: dict[str, Any], convert: Callable[[float], float]) -> Case:
    value = float(row["value"])
    known = math.isfinite(value) and not row["degenerate"]
    return Case(
        a=row["visible"],
        b=row["infrared"],
        fused=row["fused"],
        crop=row["crop"] and tuple(row["crop"]),
        expected=convert(value) if known else None,
        others=_others()[row["id"].split("#")[0]],
    )


@lru_cache(maxsize=8)
def image(path: str, crop: tuple[int, int, int, int] | None) -> Tensor:
    with Image.open(FOLDER / path) as stored:
        pixels = torch.from_numpy(np.asarray(stored, dtype=np.float64))[None, None]
    if crop is None:
        return pixels
    top, left, height, width = crop
    return pixels[..., top : top + height, left : left + width]
