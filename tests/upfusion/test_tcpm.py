import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upfusion.restormer import split_heads
from upfusion.tcpm import SparseCrossAttention, TextGuidedChannelPerturbation

NO_WISH = torch.zeros(1, 4)


def test_half_of_the_joint_channels_is_kept_and_the_text_orders_them() -> None:
    tcpm = _tcpm(channels=4)
    # Each joint channel is its number. Content orders by squeeze and excitation, both of them identities here.
    joint = torch.arange(8.0).view(1, 8, 1, 1).expand(1, 8, 3, 3) / 8
    tcpm.squeeze.weight.data = torch.eye(8)
    tcpm.excite.weight.data = torch.eye(8)
    # The four kept channels (7, 6, 5, 4) are expanded to twice themselves.
    tcpm.expand.weight.data = torch.eye(4).repeat(2, 1)[:, :, None, None]
    nn.init.zeros_(tcpm.expand.bias)
    nn.init.zeros_(tcpm.text_weight.weight)
    tcpm.text_weight.bias.data = torch.tensor([0.0, 7, 1, 6, 2, 5, 3, 4])
    content = tcpm.content_logit(joint)
    perturbed = tcpm.perturb(joint, content, torch.rand(1, 6), NO_WISH)
    # By weight: places 1, 3, 5, 7, 6, 4, 2, 0 of [7, 6, 5, 4, 7, 6, 5, 4].
    assert (perturbed[0, :, 0, 0] * 8).tolist() == [6, 4, 6, 4, 5, 7, 5, 7]


def test_the_text_changes_the_query_and_not_what_answers() -> None:
    tcpm = _tcpm()
    seen: list[tuple[Tensor, Tensor]] = []
    tcpm.attention.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    a, b = torch.randn(1, 8, 5, 6), torch.randn(1, 8, 5, 6)
    first, second = (tcpm(a, b, text, NO_WISH) for text in (torch.randn(1, 6), torch.randn(1, 6)))
    (query, answer), (other_query, other_answer) = seen
    assert torch.equal(answer, other_answer)
    torch.testing.assert_close(answer, tcpm.key_value_norm(tcpm.join(torch.cat([a, b], dim=1))))
    assert not torch.allclose(query, other_query, atol=1e-3)
    assert not torch.allclose(first, second, atol=1e-4)


def test_the_feed_forward_is_added_to_the_attention() -> None:
    tcpm = _tcpm()
    attended: list[Tensor] = []
    tcpm.attention.register_forward_hook(lambda _, __, result: attended.append(result))
    out = tcpm(torch.randn(2, 8, 5, 6), torch.randn(2, 8, 5, 6), torch.randn(2, 6), torch.zeros(2, 4))
    torch.testing.assert_close(out, attended[0] + tcpm.feed_forward(tcpm.feed_forward_norm(attended[0])))


def test_the_unperturbed_features_are_added_on_request() -> None:
    plain, skipping = _tcpm(), _tcpm(skip_unperturbed=True)
    a, b, text = torch.randn(1, 8, 5, 6), torch.randn(1, 8, 5, 6), torch.randn(1, 6)
    added = plain.join(torch.cat([a, b], dim=1))
    torch.testing.assert_close(skipping(a, b, text, NO_WISH), plain(a, b, text, NO_WISH) + added)


def test_the_perturbed_features_are_added_on_request() -> None:
    plain, skipping = _tcpm(), _tcpm(skip_perturbed=True)
    a, b, text = torch.randn(1, 8, 5, 6), torch.randn(1, 8, 5, 6), torch.randn(1, 6)
    joint = torch.cat([a, b], dim=1)
    added = plain.join(plain.perturb(joint, plain.content_logit(joint), text, NO_WISH))
    torch.testing.assert_close(skipping(a, b, text, NO_WISH), plain(a, b, text, NO_WISH) + added)


def test_the_gate_multiplies_the_ordered_channels_by_what_is_wished() -> None:
    plain, gated = _tcpm(), _tcpm(text_gate=True)
    gated.load_state_dict(plain.state_dict(), strict=False)
    joint, text, wish = torch.randn(2, 16, 5, 6), torch.randn(2, 6), torch.tensor([[-0.5, 0, 1, 0], [1, 0.2, 0, 0]])
    content = plain.content_logit(joint)
    gate = 1 + gated.gate(F.relu(gated.wish_hidden(wish)))
    expected = plain.perturb(joint, content, text, wish) * gate[:, :, None, None]
    torch.testing.assert_close(gated.perturb(joint, content, text, wish), expected)


def test_squeeze_and_excitation_has_no_bias() -> None:
    tcpm = _tcpm()
    assert tcpm.squeeze.bias is None
    assert tcpm.excite.bias is None


@pytest.mark.parametrize(
    ("channels", "heads", "retention", "kept"), [(12, 1, 0.9, 10), (12, 3, 0.9, 3), (8, 8, 0.9, 1)]
)
def test_attention_keeps_the_strongest_share_of_each_row(
    channels: int, heads: int, retention: float, kept: int
) -> None:
    attention = SparseCrossAttention(channels, heads, retention)
    nn.init.uniform_(attention.temperature, 1, 5)
    query, key_value = torch.randn(2, channels, 5, 6), torch.randn(2, channels, 5, 6)
    q = split_heads(attention.query_depthwise(attention.query(query)), heads)
    k, v = (
        split_heads(part, heads)
        for part in attention.key_value_depthwise(attention.key_value(key_value)).chunk(2, dim=1)
    )
    scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * attention.temperature
    floor = scores.sort(dim=-1, descending=True).values[..., kept - 1 : kept]
    mixed = scores.masked_fill(scores < floor, float("-inf")).softmax(dim=-1) @ v * 0.2
    torch.testing.assert_close(attention(query, key_value), attention.project(mixed.reshape(query.shape)))


def _tcpm(channels: int = 8, **options: bool) -> TextGuidedChannelPerturbation:
    torch.manual_seed(0)
    return TextGuidedChannelPerturbation(
        channels,
        heads=2,
        squeeze_divisor=1,
        text_dim=6,
        text_hidden=5,
        expansion=2.0,
        retention=0.5,
        attention_retention=0.9,
        **{"skip_unperturbed": False, **options},
    )
