import math

import pytest
import torch

from upfusion.metrics.mi import mi

from .oracles import Case, assert_agrees, oracle

Halves = tuple[torch.Tensor, torch.Tensor]


@oracle("UPF_MI", convert=lambda nats: nats / math.log(2))
def test_agrees_with_the_field(case: Case) -> None:
    assert_agrees("mi", case)


def test_a_copy_of_both_sources(halves: Halves) -> None:
    a, _ = halves
    assert mi(a, a, a).item() == pytest.approx(2)


def test_a_copy_of_one_of_two_independent_sources(halves: Halves) -> None:
    a, b = halves
    assert mi(a, b, a).item() == pytest.approx(1)
    assert mi(b, a, a).item() == pytest.approx(1)


def test_a_blend_that_tells_both_sources_apart(halves: Halves) -> None:
    a, b = halves
    assert mi(a, b, a / 2 + b / 4).item() == pytest.approx(2)


def test_rounds_to_whole_levels(halves: Halves) -> None:
    a, b = halves
    assert mi(a, b, a + 0.4 * (b > 100)).item() == pytest.approx(1)
