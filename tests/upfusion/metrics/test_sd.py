import pytest
import torch

from upfusion.metrics.sd import sd

from .oracles import Case, assert_agrees, oracle


@oracle("UPF_SD")
def test_agrees_with_the_field(case: Case) -> None:
    assert_agrees("sd", case)


def test_two_levels(halves: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert sd(halves[0]).item() == pytest.approx(100)


def test_divides_by_the_number_of_pixels() -> None:
    image = torch.tensor([1.0, 2, 3, 6], dtype=torch.float64).view(1, 1, 2, 2)
    assert sd(image).item() == pytest.approx((14 / 4) ** 0.5)


def test_flat() -> None:
    assert sd(torch.full((1, 1, 5, 5), 9.0)).isnan().all()
