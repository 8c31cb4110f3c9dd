import math

import pytest
import torch

from upfusion.metrics.ag import ag

from .oracles import Case, assert_agrees, oracle


@oracle("UPF_AG")
def test_agrees_with_the_field(case: Case) -> None:
    assert_agrees("ag", case)


def test_a_plane_is_as_steep_at_the_borders() -> None:
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(5.0), indexing="ij")
    assert ag((3 * rows + 4 * columns)[None, None]).item() == pytest.approx(5 / math.sqrt(2))


def test_differences_are_central() -> None:
    image = torch.tensor([[0.0, 8, 8], [0, 8, 8]], dtype=torch.float64)[None, None]
    assert ag(image).item() == pytest.approx((8 + 4 + 0) / 3 / math.sqrt(2))


@pytest.mark.parametrize("shape", [(1, 9), (9, 1)])
def test_too_small(shape: tuple[int, int]) -> None:
    assert ag(torch.arange(9.0).view(1, 1, *shape)).isnan().all()


def test_flat() -> None:
    assert ag(torch.full((1, 1, 5, 5), 9.0)).isnan().all()
