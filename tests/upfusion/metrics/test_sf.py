import math

import pytest
import torch

from upfusion.metrics.sf import sf

from .oracles import Case, assert_agrees, oracle


@oracle("UPF_SF")
def test_agrees_with_the_field(case: Case) -> None:
    assert_agrees("sf", case)


def test_a_chessboard_is_the_maximum() -> None:
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(5), indexing="ij")
    board = ((rows + columns) % 2 * 255.0)[None, None]
    assert sf(board).item() == pytest.approx(255 * math.sqrt(2))


def test_a_plane() -> None:
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(5.0), indexing="ij")
    assert sf((3 * rows + 4 * columns)[None, None]).item() == pytest.approx(5)


@pytest.mark.parametrize("shape", [(1, 9), (9, 1)])
def test_too_small(shape: tuple[int, int]) -> None:
    assert sf(torch.arange(9.0).view(1, 1, *shape)).isnan().all()


def test_flat() -> None:
    assert sf(torch.full((1, 1, 5, 5), 9.0)).isnan().all()
