import math

import pytest
import torch

from upfusion.metrics.scd import scd

from .conftest import Scene
from .oracles import Case, assert_agrees, oracle

Halves = tuple[torch.Tensor, torch.Tensor]


@oracle("UPF_SCD")
def test_agrees_with_the_field(case: Case) -> None:
    assert_agrees("scd", case)


def test_a_sum_adds_each_source_to_the_other(halves: Halves) -> None:
    a, b = halves
    assert scd(a, b, a + b).item() == pytest.approx(2)


def test_a_difference(halves: Halves) -> None:
    a, b = halves
    # F - B is -A; F - A is B - 2 A, of which B has a fifth of the variance.
    assert scd(a, b, b - a).item() == pytest.approx(-1 + 1 / math.sqrt(5))


@pytest.mark.parametrize("brightness", [0.0, 60.0])
def test_a_copy_has_no_meaning(scene: Scene, brightness: float) -> None:
    a, b = scene[0].float(), scene[1].float()
    assert scd(a, b, a + brightness).isnan().all()
    assert scd(a, b, b + brightness).isnan().all()
