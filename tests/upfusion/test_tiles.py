from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from upfusion.tiles import Tiles, fuse_in_tiles


class Recorder(nn.Module):
    """Stands for a network: gives the maximum of both, and remembers the sizes it was given."""

    def __init__(self, shade_by_tile: bool = False) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []
        self.shade_by_tile = shade_by_tile

    def forward(self, a: Tensor, b: Tensor, text: Tensor, balance: Tensor) -> Tensor:
        assert len(text) == len(balance) == len(a)
        self.sizes.append(tuple(a.shape[-2:]))
        return torch.full_like(a, len(self.sizes) - 1) if self.shade_by_tile else torch.maximum(a, b)


@pytest.mark.parametrize("size", [(64, 64), (65, 64), (100, 37), (200, 333), (64, 129)])
@pytest.mark.parametrize("overlap", [0, 1, 16, 32])
def test_tiles_of_a_local_operation_give_the_whole(size: tuple[int, int], overlap: int) -> None:
    a, b, network = torch.rand(2, 1, *size), torch.rand(2, 1, *size), Recorder()
    fused = fuse_in_tiles(network, a, b, torch.rand(2, 4), torch.zeros(2), Tiles(side=64, overlap=overlap))  # type: ignore[arg-type]
    torch.testing.assert_close(fused, torch.maximum(a, b))
    assert set(network.sizes) == {(min(64, size[0]), min(64, size[1]))}


@pytest.mark.parametrize(
    ("length", "starts"),
    [(64, [0]), (10, [0]), (65, [0, 1]), (112, [0, 48]), (113, [0, 24, 49]), (160, [0, 48, 96])],
)
def test_tiles_are_spread_evenly_and_end_flush(length: int, starts: list[int]) -> None:
    tiles = Tiles(side=64, overlap=16)
    assert tiles.starts(length) == starts
    assert all(after - before <= 48 for before, after in pairwise(starts))


def test_neighbours_are_blended_without_a_step() -> None:
    zeros = torch.zeros(1, 1, 64, 112)
    fused = fuse_in_tiles(
        Recorder(shade_by_tile=True), zeros, zeros, zeros[:, 0, 0], torch.zeros(1), Tiles(side=64, overlap=16)
    )  # type: ignore[arg-type]
    profile = fused[0, 0, 30]
    assert profile[:48].eq(0).all()
    assert profile[64:].eq(1).all()
    torch.testing.assert_close(profile[48:64], (torch.arange(16) + 0.5) / 16)


def test_an_image_of_one_tile_needs_none() -> None:
    tiles = Tiles(side=64, overlap=16)
    assert not tiles.needed(64, 64)
    assert tiles.needed(65, 10)
    assert tiles.needed(10, 65)


@pytest.mark.parametrize(("side", "overlap"), [(15, 0), (64, 33), (64, -1)])
def test_tiles_that_cannot_work_are_refused(side: int, overlap: int) -> None:
    with pytest.raises(ValueError, match=r"^tile( overlap)?: expected"):
        Tiles(side=side, overlap=overlap)
