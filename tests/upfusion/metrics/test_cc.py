import pytest
import torch

from upfusion.metrics.cc import cc

from .oracles import Case, assert_agrees, oracle

Halves = tuple[torch.Tensor, torch.Tensor]


@oracle("UPF_CC")
def test_agrees_with_the_field(case: Case) -> None:
    assert_agrees("cc", case)


def test_a_copy_of_both_sources(halves: Halves) -> None:
    a, _ = halves
    assert cc(a, a, a / 2 + 7).item() == pytest.approx(1)


def test_a_copy_of_one_of_two_uncorrelated_sources(halves: Halves) -> None:
    a, b = halves
    assert cc(a, b, a).item() == pytest.approx(0.5)
    assert cc(b, a, a).item() == pytest.approx(0.5)


def test_a_negative(halves: Halves) -> None:
    a, _ = halves
    assert cc(a, a, 255 - a).item() == pytest.approx(-1)
