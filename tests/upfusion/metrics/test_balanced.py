import math

import pytest
import torch

from upfusion.metrics import METRICS
from upfusion.metrics.balanced import balanced

from .conftest import Scene


@pytest.mark.parametrize(
    ("directions", "value"), [((0.5, 0.5), 0.5), ((1.0, 0.05), 2 / 21), ((0.9, 0.0), 0), ((0.9, -0.1), 0), ((0, 0), 0)]
)
def test_is_the_harmonic_mean(directions: tuple[float, float], value: float) -> None:
    assert balanced(torch.tensor([directions, directions[::-1]])).tolist() == pytest.approx([value, value])


def test_no_meaning_stays_so() -> None:
    assert math.isnan(balanced(torch.tensor([[math.nan, math.nan]])).item())


def test_a_copy_of_one_source_raises_the_mean_but_not_the_balanced_form(scene: Scene) -> None:
    a, b, _ = scene
    average = (a + b) / 2
    assert (METRICS["vif"](a, b, a) > METRICS["vif"](a, b, average)).all()
    assert (METRICS["vif_balanced"](a, b, a) < METRICS["vif_balanced"](a, b, average)).all()
