import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upfusion.scpm import SemanticChannelPruning

CONTENT = [0.2, -1.0, 3.0, 1.0, -2.0, 0.5, 2.0, -0.5]
"""Logits of the content weight of each channel."""


def test_the_kept_channels_come_in_descending_order_of_content() -> None:
    scpm = _with_content()
    nn.init.zeros_(scpm.alpha)
    assert _order(scpm) == [2, 6, 3, 5, 0]


def test_the_semantic_prior_changes_the_order_by_alpha() -> None:
    scpm = _with_content()
    nn.init.zeros_(scpm.from_prior.weight)
    with torch.no_grad():
        scpm.from_prior.bias.copy_(torch.tensor([-9.0, -9, -9, -9, 9, -9, -9, -9]))
    # sigmoid(-2) + 1 is more than every content weight.
    assert _order(scpm) == [4, 2, 6, 3, 5]
    with torch.no_grad():
        scpm.alpha.fill_(-1)
    assert _order(scpm) == [2, 6, 3, 5, 0]


def test_alpha_starts_at_one() -> None:
    assert _scpm().alpha.item() == 1


def test_content_weight_is_squeeze_and_excitation() -> None:
    scpm = _scpm()
    x = torch.randn(2, 8, 6, 7) + 3 * torch.randn(2, 8, 1, 1)
    hidden = F.relu(x.mean(dim=(2, 3)) @ scpm.squeeze.weight.T + scpm.squeeze.bias)
    expected = torch.sigmoid(hidden @ scpm.excite.weight.T + scpm.excite.bias)
    torch.testing.assert_close(scpm.content_weight(x), expected)
    assert scpm.squeeze.out_features == 2


@pytest.mark.parametrize("size", [(6, 7), (300, 40)])
def test_the_prior_sees_three_channels_at_its_own_size(size: tuple[int, int]) -> None:
    scpm = _scpm()
    seen: list[Tensor] = []
    scpm.prior.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.randn(2, 8, *size)
    weight = scpm.semantic_weight(x)
    expected = F.interpolate(scpm.to_prior(x), size=(64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(seen[0], expected)
    assert weight.shape == (2, 8)
    assert weight.min() > 0
    assert weight.max() < 1


def test_the_prior_looks_at_the_image() -> None:
    scpm = _scpm()
    nn.init.normal_(scpm.from_prior.weight)
    weight = scpm.semantic_weight(torch.cat([torch.zeros(1, 8, 32, 32), torch.randn(1, 8, 32, 32)]))
    assert not torch.allclose(weight[0], weight[1], atol=1e-3)


def test_the_features_keep_their_shape() -> None:
    scpm = _scpm()
    assert scpm(torch.randn(2, 8, 6, 7)).shape == (2, 8, 6, 7)
    assert scpm.expand.in_channels == int(0.7 * 8)


def _scpm() -> SemanticChannelPruning:
    torch.manual_seed(0)
    return SemanticChannelPruning(8, 4, 0.7, 64, (1, 1, 1, 1), (8, 16, 16, 32))


def _with_content() -> SemanticChannelPruning:
    """Make the content weights constants, and the expansion show its inputs as the first channels."""
    scpm = _scpm()
    nn.init.zeros_(scpm.excite.weight)
    nn.init.eye_(scpm.expand.weight.data[:, :, 0, 0])
    with torch.no_grad():
        scpm.excite.bias.copy_(torch.tensor(CONTENT))
    return scpm


def _order(scpm: SemanticChannelPruning) -> list[int]:
    numbered = torch.arange(8.0).view(1, 8, 1, 1).expand(1, 8, 4, 4)
    return [round(value) for value in scpm(numbered)[0, :5, 0, 0].tolist()]
