import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upfusion import restormer
from upfusion.restormer import (
    ChannelLayerNorm,
    GatedFeedForward,
    RestormerBlock,
    TransposedAttention,
    attend_and_project,
    channel_scores,
    downsample,
    in_strips,
    restormer_level,
    split_heads,
    upsample,
)


def test_layer_norm_is_over_channels_with_the_biased_variance() -> None:
    x = torch.rand(2, 6, 3, 4) * 1e-2
    norm = ChannelLayerNorm(6)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
    expected = (x - mean) / (variance + 1e-5).sqrt() * norm.weight.view(1, 6, 1, 1) + norm.bias.view(1, 6, 1, 1)
    torch.testing.assert_close(norm(x), expected)


def test_heads_are_neighbouring_channels() -> None:
    x = torch.arange(8.0).view(1, 8, 1, 1).expand(1, 8, 2, 3)
    heads = split_heads(x, 4)
    assert heads.shape == (1, 4, 2, 6)
    assert heads[0, :, :, 0].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_scores_are_cosines_between_channels() -> None:
    q, k = torch.randn(2, 3, 4, 30), torch.randn(2, 3, 4, 30)
    expected = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
    torch.testing.assert_close(channel_scores(q, k), expected)


def test_an_empty_channel_scores_zero_and_passes_a_finite_gradient() -> None:
    q = torch.randn(1, 1, 2, 30)
    q[0, 0, 0] = 0
    q.requires_grad_()
    scores = channel_scores(q, torch.randn(1, 1, 2, 30))
    scores.sum().backward()
    assert scores[0, 0, 0].tolist() == [0, 0]
    assert q.grad is not None
    assert q.grad.isfinite().all()


def test_attention_follows_the_formula_of_the_paper() -> None:
    attention = TransposedAttention(8, 2)
    nn.init.uniform_(attention.temperature, 0.5, 5)
    x = torch.randn(2, 8, 5, 6)
    q, k, v = (part.reshape(2, 2, 4, 30) for part in attention.qkv_depthwise(attention.qkv(x)).chunk(3, dim=1))
    weights = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * attention.temperature).softmax(dim=-1)
    expected = attention.project((weights @ v).reshape(2, 8, 5, 6))
    torch.testing.assert_close(attention(x), expected)


def test_attention_and_projection_in_one_equal_one_after_the_other() -> None:
    project = nn.Conv2d(12, 12, 1, bias=False)
    attention, v = torch.rand(2, 3, 4, 4), torch.randn(2, 12, 5, 6)
    mixed = attention @ v.reshape(2, 3, 4, 30)
    torch.testing.assert_close(attend_and_project(attention, v, project), project(mixed.reshape(2, 12, 5, 6)))


def test_feed_forward_is_gated() -> None:
    feed_forward = GatedFeedForward(6, 2.66)
    assert feed_forward.project_in.out_channels == 2 * 15
    x = torch.randn(1, 6, 5, 7)
    gate, value = feed_forward.depthwise(feed_forward.project_in(x)).chunk(2, dim=1)
    torch.testing.assert_close(feed_forward(x), feed_forward.project_out(F.gelu(gate) * value))


@pytest.mark.parametrize("silenced", ["attention", "feed_forward"])
def test_a_block_adds_attention_then_feed_forward(silenced: str) -> None:
    block = RestormerBlock(8, 2, 2.0)
    last = block.attention.project if silenced == "attention" else block.feed_forward.project_out
    nn.init.zeros_(last.weight)
    x = torch.randn(1, 8, 4, 4)
    if silenced == "attention":
        expected = x + block.feed_forward(block.feed_forward_norm(x))
    else:
        expected = x + block.attention(block.attention_norm(x))
    torch.testing.assert_close(block(x), expected)


def test_a_level_stacks_its_blocks() -> None:
    level = restormer_level(8, 2, 3, 2.0)
    x = torch.randn(1, 8, 4, 4)
    assert len(level) == 3
    torch.testing.assert_close(level(x), level[2](level[1](level[0](x))))


def test_downsampling_halves_the_size_and_doubles_the_channels() -> None:
    down = downsample(8)
    x = torch.rand(1, 8, 6, 10)
    out = down(x)
    assert out.shape == (1, 16, 3, 5)
    # Four neighbouring pixels become four channels: nothing is thrown away.
    torch.testing.assert_close(out[0, :4, 1, 2], down[0](x)[0, 0, 2:4, 4:6].flatten())


def test_upsampling_doubles_the_size_and_halves_the_channels() -> None:
    up = upsample(8)
    x = torch.rand(1, 8, 3, 5)
    out = up(x)
    assert out.shape == (1, 4, 6, 10)
    torch.testing.assert_close(out[0, 0, 2:4, 4:6].flatten(), up[0](x)[0, :4, 1, 2])


@pytest.mark.parametrize("height", [1, 2, 7, 8, 9, 16])
def test_strips_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch, height: int) -> None:
    smooth = nn.Conv2d(4, 6, 3, padding=1)
    x = torch.randn(2, 4, height, 5)
    seen: list[int] = []

    def function(strip: Tensor) -> Tensor:
        seen.append(strip.shape[2])
        result: Tensor = smooth(strip)
        return result

    monkeypatch.setattr(restormer, "STRIP", 3 * 2 * 6 * 5)  # three rows
    monkeypatch.setattr(restormer, "STRIP_ROWS", 1)
    with torch.no_grad():
        torch.testing.assert_close(in_strips(function, x, widest=6), smooth(x))
    assert len(seen) == -(-height // 3)
    assert max(seen) <= min(height, 3 + 2)


def test_a_strip_has_rows_enough_to_be_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restormer, "STRIP", 1)
    monkeypatch.setattr(restormer, "STRIP_ROWS", 16)
    heights: list[int] = []

    def function(strip: Tensor) -> Tensor:
        heights.append(strip.shape[2])
        return strip

    x = torch.randn(1, 4, 40, 7)
    with torch.no_grad():
        assert torch.equal(in_strips(function, x, widest=4), x)
    assert heights == [15, 16, 13]


def test_a_gradient_is_taken_through_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restormer, "STRIP", 1)
    monkeypatch.setattr(restormer, "STRIP_ROWS", 1)
    smooth, x = nn.Conv2d(4, 4, 3, padding=1), torch.randn(1, 4, 5, 7)
    assert torch.equal(in_strips(smooth, x, widest=4), smooth(x))
    in_strips(smooth, x, widest=4).sum().backward()
    assert smooth.weight.grad is not None


@pytest.mark.parametrize("part", [TransposedAttention(8, 2), GatedFeedForward(8, 2.0), RestormerBlock(8, 2, 2.0)])
def test_a_block_in_strips_equals_the_whole(monkeypatch: pytest.MonkeyPatch, part: nn.Module) -> None:
    x = torch.randn(2, 8, 11, 6)
    with torch.no_grad():
        whole = part(x)
        monkeypatch.setattr(restormer, "STRIP", 1)
        monkeypatch.setattr(restormer, "STRIP_ROWS", 3)
        heights: list[int] = []
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d) and layer.groups > 1:
                layer.register_forward_pre_hook(lambda _, inputs: heights.append(inputs[0].shape[2]))
        torch.testing.assert_close(part(x), whole)
    assert max(heights) == 3 + 2
