import pytest
import torch
from torch import Tensor

from upfusion.selection import keep_top_channels, sort_channels

WEIGHTS = torch.tensor([[0.1, 0.9, 0.4, 0.6], [0.8, 0.2, 0.7, 0.3]])


def test_the_heaviest_channels_are_kept_in_descending_order() -> None:
    kept = keep_top_channels(_numbered(2, 4), WEIGHTS, 0.5)
    assert kept[:, :, 0, 0].tolist() == [[1, 3], [4, 6]]


def test_all_channels_are_sorted_in_descending_order() -> None:
    ordered = sort_channels(_numbered(2, 4), WEIGHTS)
    assert ordered[:, :, 0, 0].tolist() == [[1, 3, 2, 0], [4, 6, 7, 5]]


def test_whole_channels_move() -> None:
    x = torch.rand(2, 4, 3, 5)
    assert torch.equal(sort_channels(x, WEIGHTS)[1, 1], x[1, 2])


@pytest.mark.parametrize(
    ("channels", "ratio", "kept"), [(8, 0.7, 5), (48, 0.7, 33), (12, 0.7, 8), (7, 0.5, 3), (4, 1.0, 4), (4, 0.1, 1)]
)
def test_the_share_kept_is_rounded_down_to_at_least_one(channels: int, ratio: float, kept: int) -> None:
    x = torch.rand(1, channels, 2, 2)
    assert keep_top_channels(x, torch.rand(1, channels), ratio).shape == (1, kept, 2, 2)


@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
def test_learning_leaves_the_values_alone_to_the_bit(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(8, 64, 3, 3, generator=generator)
    weights = (scale * torch.randn(8, 64, generator=generator)).requires_grad_()
    with torch.no_grad():
        plain = sort_channels(x, weights), keep_top_channels(x, weights, 0.5)
    assert torch.equal(sort_channels(x, weights), plain[0])
    assert torch.equal(keep_top_channels(x, weights, 0.5), plain[1])


def test_a_weight_learns_from_its_own_channel() -> None:
    x = torch.rand(2, 4, 3, 5, requires_grad=True)
    weights = WEIGHTS.clone().requires_grad_()
    slope = torch.rand(2, 2, 3, 5)
    (keep_top_channels(x, weights, 0.5) * slope).sum().backward()
    expected = torch.zeros(2, 4)
    for pair, channels in enumerate([(1, 3), (0, 2)]):
        for place, channel in enumerate(channels):
            expected[pair, channel] = (x[pair, channel] * slope[pair, place]).sum()
    torch.testing.assert_close(weights.grad, expected)
    assert x.grad is not None
    torch.testing.assert_close(x.grad[0, 1], slope[0, 0])
    assert not x.grad[0, 0].any()


def test_half_precision_stays() -> None:
    x = torch.rand(2, 4, 2, 2).bfloat16()
    assert sort_channels(x, WEIGHTS.clone().requires_grad_()).dtype == torch.bfloat16


def _numbered(batch: int, channels: int) -> Tensor:
    return torch.arange(float(batch * channels)).view(batch, channels, 1, 1).expand(-1, -1, 2, 2)


def test_channels_whose_sigmoids_saturate_are_ranked_by_what_went_in() -> None:
    logits = torch.tensor([[18.0, 25.0, -1.0, 30.0]])
    assert (logits.sigmoid()[0, [0, 1, 3]] == 1).all()
    kept = keep_top_channels(_numbered(1, 4), logits.sigmoid(), 0.75, rank_BC=logits)
    assert kept[0, :, 0, 0].tolist() == _numbered(1, 4)[0, [3, 1, 0], 0, 0].tolist()
