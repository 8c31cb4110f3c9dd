"""The network as a whole: the authors' forward pass, a gradient everywhere, any size, any batch."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from upfusion.convert import convert
from upfusion.gain_output import split
from upfusion.network import PatchEmbedding, UPFusion, pad_to_multiple
from upfusion.presets import PRESETS, NetworkConfig

from .authors_file import read_authors, weights_of

SMALL = NetworkConfig(
    channels=8,
    blocks=(1, 1, 1, 1),
    refinement_blocks=1,
    text_dim=16,
    # One hidden unit, as 8 channels / 8 would give, is dead at every second start.
    squeeze_divisor=1,
    prior_size=64,
    prior_depths=(1, 1, 1, 1),
    prior_widths=(8, 16, 32, 64),
)
"""The paper's network at small width."""

CONFIGS = {
    "small": SMALL,
    "strided": replace(SMALL, stem_stride=2, residual=True, skip_unperturbed=True, prior_trained=True, text_hidden=8),
    "dense": replace(
        PRESETS["tiny"],
        channels=8,
        widths=(8, 12, 16),
        text_dim=16,
        text_hidden=8,
        squeeze_divisor=1,
        prior_depths=(1, 1, 1, 1),
    ),
}

WISHES = torch.tensor([[-0.4, 0.5, 0.0, 0.2], [0.7, 0.0, 1.0, 0.0]])

TAPS = {
    "channel_select": "scpm",
    "GEO_vi": "gam_a",
    "GEO_ir": "gam_b",
    "latent_vi": "encoder_a.3",
    "latent_ir": "encoder_b.3",
    "latent_shuffle_channel": "tcpm.3",
    "encoder_shuffle_channel3": "tcpm.2",
    "decoder_level1": "decoder.levels.0",
    "refinement": "decoder.refinement",
}
"""The authors' name of each intermediate result, and the module of ours that makes it."""


@pytest.fixture(scope="module")
def authors() -> dict[str, Tensor]:
    """The authors' file, and our results beside theirs under `ours.`."""
    tensors = read_authors()
    conversion = convert(weights_of(tensors))
    network = UPFusion(conversion.config)
    network.load_state_dict(conversion.weights)
    for tap, module in TAPS.items():
        network.get_submodule(module).register_forward_hook(partial(_keep, tensors, tap))
    red, green, blue = tensors["input.visible"].split(1, dim=1)
    luma_B1HW = 0.299 * red + 0.587 * green + 0.114 * blue
    with torch.no_grad():
        tensors["ours.fused"] = network(luma_B1HW, tensors["input.infrared"], tensors["input.text"])
    return tensors


def _keep(store: dict[str, Tensor], name: str, _: nn.Module, __: tuple[Tensor, ...], result: Tensor) -> None:
    store[f"ours.{name}"] = result


@pytest.mark.parametrize("tap", TAPS)
def test_intermediate_result_equals_that_of_the_authors(authors: dict[str, Tensor], tap: str) -> None:
    torch.testing.assert_close(authors[f"ours.{tap}"], authors[f"tap.{tap}"], rtol=0, atol=1e-5)


def test_output_equals_that_of_the_authors(authors: dict[str, Tensor]) -> None:
    torch.testing.assert_close(authors["ours.fused"], authors["output.fused"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("config", [PRESETS["tiny"], *CONFIGS.values()], ids=["tiny", *CONFIGS])
def test_every_trainable_parameter_gets_a_gradient_at_any_start(config: NetworkConfig, seed: int) -> None:
    _check_gradients(config, seed)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["base", pytest.param("paper", marks=pytest.mark.extended)])
def test_every_trainable_parameter_of_the_large_presets_gets_a_gradient(preset: str) -> None:
    _check_gradients(PRESETS[preset], seed=0)


@pytest.mark.parametrize("part", ["scpm", "gam", "tcpm", "text"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_network_works_without_each_part(config: NetworkConfig, part: str) -> None:
    ablated = replace(config, **{part: False})
    _check_gradients(ablated, seed=0)
    network, (a, b, text) = _network(ablated), _scene(ablated, size=(24, 40))
    fewer = len(_network(config).state_dict()) - len(network.state_dict())
    assert fewer > 0
    with torch.no_grad():
        fused = network(a, b, text)
        assert fused.shape == a.shape
        assert (fused - network(b, a, text)).abs().max() > 1e-4
        depends_on_text = bool((fused - network(a, b, text.flip(0))).abs().max() > 0)
    assert depends_on_text == ablated.takes_text == (part not in ("tcpm", "text"))


@pytest.mark.parametrize("config", [PRESETS["tiny"], *CONFIGS.values()], ids=["tiny", *CONFIGS])
def test_one_and_two_threads_give_the_same(config: NetworkConfig) -> None:
    network, scene = _network(config), _scene(config, size=(64, 96))
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            with torch.no_grad():
                results.append(network(*scene))
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(*results, rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_permuting_the_batch_permutes_the_result(config: NetworkConfig) -> None:
    network, scene = _network(config), _scene(config, size=(24, 40), batch=3)
    order = [2, 0, 1]
    with torch.no_grad():
        expected = network(*scene)[order]
        torch.testing.assert_close(network(*(x[order] for x in scene)), expected, rtol=0, atol=1e-5)


def _check_gradients(config: NetworkConfig, seed: int) -> None:
    network = _network(config, seed)
    a, b, text = _scene(config, seed, size=(48, 64))
    (network(a, b, text, wish_BW=WISHES) - torch.maximum(a, b) / 2).square().mean().backward()
    trained = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
    idle = [name for name, grad in trained.items() if grad is None or not grad.isfinite().all() or not grad.any()]
    assert not idle
    frozen = {name for name, _ in network.named_parameters()} - set(trained)
    prior = {name for name, _ in network.named_parameters() if name.startswith("scpm.prior.")}
    assert bool(prior) == config.scpm
    reader = {name for name in frozen if name.startswith("reader.")}
    assert bool(reader) == config.takes_balance
    assert frozen - reader == (set() if config.prior_trained else prior)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_training_and_inference_give_the_same_bits(config: NetworkConfig) -> None:
    network = _network(config)
    scene = _scene(config)
    trained = network.train()(*scene)
    assert trained.requires_grad
    with torch.inference_mode():
        inferred = network.eval()(*scene)
    assert torch.equal(trained.detach(), inferred)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 1), (3, 5), (17, 31), (8, 16), (40, 9)])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_output_has_the_size_of_the_input(config: NetworkConfig, size: tuple[int, int]) -> None:
    with torch.no_grad():
        fused = _network(config)(*_scene(config, size=size))
    assert fused.shape == (2, 1, *size)
    assert fused.isfinite().all()


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_pair_is_fused_alone_as_in_a_batch(config: NetworkConfig) -> None:
    network = _network(config)
    a, b, text = _scene(config, size=(24, 40), batch=3)
    with torch.no_grad():
        together = network(a, b, text)
        alone = torch.cat([network(a[i : i + 1], b[i : i + 1], text[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-5)


def test_each_row_of_text_guides_its_own_pair() -> None:
    network = _network(SMALL)
    a, b, text = _scene(SMALL)
    with torch.no_grad():
        fused = network(a[:1].repeat(2, 1, 1, 1), b[:1].repeat(2, 1, 1, 1), text)
    assert (fused[0] - fused[1]).abs().max() > 1e-4


def test_each_balance_guides_its_own_pair_and_none_is_zero() -> None:
    config = CONFIGS["dense"]
    network = _network(config)
    a, b, text = (x[:1].repeat(3, *[1] * (x.ndim - 1)) for x in _scene(config))
    with torch.no_grad():
        fused = network(a, b, text, torch.tensor([-1.0, 0.0, 1.0]))
        torch.testing.assert_close(fused[1:2], network(a[:1], b[:1], text[:1]))
    assert (fused[0] - fused[1]).abs().max() > 1e-5
    assert (fused[2] - fused[1]).abs().max() > 1e-5


def test_a_small_step_of_the_balance_is_a_small_step_of_the_result() -> None:
    config = CONFIGS["dense"]
    network = _network(config)
    a, b, text = (x[:1].repeat(201, *[1] * (x.ndim - 1)) for x in _scene(config, size=(16, 16)))
    with torch.no_grad():
        fused = network(a, b, text, torch.linspace(-1, 1, 201))
    whole = (fused[-1] - fused[0]).abs().max()
    assert (fused[1:] - fused[:-1]).abs().max() < 0.05 * whole


def test_what_a_text_wishes_and_a_balance_come_to_the_same() -> None:
    config = CONFIGS["dense"]
    network = _network(config)
    _, _, text = _scene(config)
    network.reader.forward = lambda x: torch.tensor([[0.5, 0.0, 2.0, -2.0]]).expand(len(x), -1)  # type: ignore[method-assign]
    read = network.read_wishes(text)
    assert read[0, 0] == 0.5
    torch.testing.assert_close(
        network.read_wishes(text, torch.tensor([0.9, -0.2]))[:, 0], torch.stack([torch.tensor(1.0), read[1, 0] - 0.2])
    )
    assert read[0, 2] == 1
    assert (read[:, 3] == 0).all()


def test_suppressed_noise_is_less_detail_in_flat_areas_alone() -> None:
    config = CONFIGS["dense"]
    network = _network(config)
    a, b, text = _scene(config, size=(64, 64))
    a, b = (x[:1] * 0.02 + 0.4 for x in (a, b))
    a[..., 32:] += 0.5
    with torch.no_grad():
        plain, quiet = (network(a, b, text[:1], wish_BW=torch.tensor([[0.0, 0.0, 0.0, q]])) for q in (0.0, 1.0))
    changes = [(x[..., 1:, :] - x[..., :-1, :]).abs().mean(dim=(0, 1, 2)) for x in (plain, quiet)]
    assert (changes[1][8:20] < 0.5 * changes[0][8:20]).all()
    torch.testing.assert_close(changes[1][31:33], changes[0][31:33], rtol=0.3, atol=0.02)


def test_a_network_without_a_dial_disregards_the_balance() -> None:
    network, scene = _network(SMALL), _scene(SMALL)
    with torch.no_grad():
        assert torch.equal(network(*scene, WISHES[:, 0]), network(*scene))


def test_the_sources_are_told_apart() -> None:
    network = _network(SMALL)
    a, b, text = _scene(SMALL)
    with torch.no_grad():
        assert (network(a, b, text) - network(b, a, text)).abs().max() > 1e-4


def test_residual_adds_the_maximum_of_both_sources() -> None:
    plain = _network(SMALL)
    residual = UPFusion(replace(SMALL, residual=True))
    residual.load_state_dict(plain.state_dict())
    a, b, text = _scene(SMALL, size=(17, 31))
    with torch.no_grad():
        torch.testing.assert_close(residual(a, b, text), plain(a, b, text) + torch.maximum(a, b))


def test_odd_sizes_are_fused_as_their_reflection() -> None:
    network = _network(SMALL)
    a, b, text = _scene(SMALL, size=(21, 30))
    mirrored = [torch.cat([x, x[..., 17:20, :].flip(2)], dim=2) for x in (a, b)]
    mirrored = [torch.cat([x, x[..., 27:29].flip(3)], dim=3) for x in mirrored]
    with torch.no_grad():
        expected = network(*mirrored, text)[..., :21, :30]
        torch.testing.assert_close(network(a, b, text), expected)


def test_padding_goes_to_the_right_and_the_bottom() -> None:
    x = torch.arange(15.0).view(1, 1, 3, 5)
    padded = pad_to_multiple(x, 4)
    assert padded.shape == (1, 1, 4, 8)
    assert padded[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]
    assert padded[0, 0, 3].tolist() == padded[0, 0, 1].tolist()


def test_padding_repeats_what_is_too_small_to_reflect() -> None:
    assert pad_to_multiple(torch.tensor([[[[1.0, 2.0]]]]), 4)[0, 0].tolist() == [[1, 2, 2, 2]] * 4


def test_padding_leaves_a_multiple_alone() -> None:
    x = torch.rand(1, 1, 8, 16)
    assert pad_to_multiple(x, 8) is x


def test_the_stem_throws_nothing_away() -> None:
    config = replace(SMALL, stem_stride=2)
    embedding = PatchEmbedding(config)
    x = torch.rand(1, 1, 8, 12)
    unshuffled = embedding.unshuffle(x)
    pyramid = split(x, 0)
    assert unshuffled.shape == (1, 4, 4, 6)
    assert unshuffled.flatten().sort().values.equal(x.flatten().sort().values)
    assert embedding(x, pyramid).shape == (1, 8, 4, 6)


def test_texts_of_another_size_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(B, T\).*\(2, 16\).*\(1, 16\)"):
        _network(SMALL)(torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8), torch.rand(1, 16))


@pytest.mark.parametrize(
    ("a", "b"),
    [((1, 1, 8, 8), (1, 1, 8, 16)), ((1, 3, 8, 8), (1, 3, 8, 8)), ((8, 8), (8, 8)), ((2, 1, 8, 8), (1, 1, 8, 8))],
)
def test_wrong_shapes_are_named(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(B, 1, H, W\)"):
        _network(SMALL)(torch.rand(a), torch.rand(b), torch.rand(1, 16))


def _network(config: NetworkConfig, seed: int = 0) -> UPFusion:
    torch.manual_seed(seed)
    return UPFusion(config).eval()


def _scene(
    config: NetworkConfig, seed: int = 0, size: tuple[int, int] = (32, 48), batch: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    """Two lumas with large and small structure, and one unit text vector per pair."""
    generator = torch.Generator().manual_seed(seed)
    coarse = nn.functional.interpolate(torch.rand(2, batch, 4, 5, generator=generator), size=size, mode="bilinear")
    fine = torch.rand(2, batch, *size, generator=generator)
    a_BHW, b_BHW = (0.8 * coarse + 0.2 * fine).unbind()
    text_BT = nn.functional.normalize(torch.randn(batch, config.text_dim, generator=generator), dim=1)
    return a_BHW[:, None], b_BHW[:, None], text_BT
