from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import upfusion
from upfusion.checkpoint import parse_checkpoint
from upfusion.create import create_checkpoint
from upfusion.network import UPFusion
from upfusion.presets import PARTS, PRESETS
from upfusion.priors import PriorUnavailableError
from upfusion.prompts import PROMPTS

from .small_priors import (
    CONVNEXT,
    NETWORK,
    TEXT_DIM,
    cut_off_from_hub,
    encode_by,
    make_clip,
    make_convnext,
    name_clip,
    put_in_cache,
    write_clip,
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The preset `small`, and no hub to take its priors from."""
    monkeypatch.setitem(PRESETS, "small", NETWORK)
    cut_off_from_hub(monkeypatch, tmp_path / "cache")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("models") / "convnext.safetensors"
    save_file(make_convnext(), file)
    return file


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("models") / "clip", make_clip())


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_the_checkpoint_holds_its_pretrained_convnext(weights: Path, text_encoder: Path) -> None:
    made = create_checkpoint("small", weights=weights, text_encoder=text_encoder)
    expected = {f"scpm.prior.{name}": t for name, t in make_convnext().items() if not name.startswith("head.")}
    assert {name for name in made.weights if name.startswith("scpm.prior.")} == set(expected)
    assert all(torch.equal(made.weights[name], tensor) for name, tensor in expected.items())


def test_the_checkpoint_holds_every_prompt_embedded(weights: Path, text_encoder: Path) -> None:
    made = create_checkpoint("small", weights=weights, text_encoder=text_encoder)
    assert {name: prompt.text for name, prompt in made.prompts.items()} == PROMPTS
    for prompt in made.prompts.values():
        torch.testing.assert_close(prompt.embedding, encode_by(make_clip(), prompt.text)[0])


def test_the_checkpoint_says_what_it_is(weights: Path, text_encoder: Path) -> None:
    made = create_checkpoint("small", weights=weights, text_encoder=text_encoder)
    assert (made.name, made.config) == ("small", NETWORK)
    assert not made.provenance.trained
    (note,) = made.provenance.notes
    assert "random" in note


def test_the_checkpoint_survives_a_file_and_needs_nothing_else_then(weights: Path, text_encoder: Path) -> None:
    made = create_checkpoint("small", weights=weights, text_encoder=text_encoder)
    read = parse_checkpoint(made.to_bytes(), "small.safetensors")
    assert read.digest == made.digest
    assert (read.config, read.provenance) == (made.config, made.provenance)
    inputs = torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16), torch.rand(1, TEXT_DIM)
    with torch.inference_mode():
        assert torch.equal(read.build_network()(*inputs), made.build_network()(*inputs))


def test_what_is_no_prior_is_random(weights: Path, text_encoder: Path) -> None:
    first, second = (create_checkpoint("small", weights=weights, text_encoder=text_encoder) for _ in range(2))
    assert not torch.equal(first.weights["expand.weight"], second.weights["expand.weight"])
    torch.manual_seed(0)
    again = create_checkpoint("small", weights=weights, text_encoder=text_encoder)
    assert again.digest == first.digest


def test_priors_come_from_a_cache_that_was_copied_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name_clip(monkeypatch, tmp_path)
    put_in_cache(tmp_path / "cache", f"timm/{CONVNEXT}", "model.safetensors", make_convnext())
    put_in_cache(tmp_path / "cache", "timm/small-test", "open_clip_model.safetensors", make_clip().state_dict())
    made = create_checkpoint("small")
    assert torch.equal(made.weights["scpm.prior.stem.0.weight"], make_convnext()["stem.0.weight"])
    torch.testing.assert_close(made.prompts["ct_mri"].embedding, encode_by(make_clip(), PROMPTS["ct_mri"])[0])


def test_a_prior_that_cannot_be_had_is_named(weights: Path, text_encoder: Path) -> None:
    with pytest.raises(PriorUnavailableError, match=CONVNEXT):
        create_checkpoint("small", text_encoder=text_encoder)
    with pytest.raises(PriorUnavailableError, match="small-test/none"):
        create_checkpoint("small", weights=weights)


def test_without_pretrained_priors_nothing_is_looked_for() -> None:
    made = create_checkpoint("small", pretrained=False)
    assert made.prompts == {}
    assert not made.provenance.trained
    assert not torch.equal(made.weights["scpm.prior.stem.0.weight"], make_convnext()["stem.0.weight"])
    made.build_network()


@pytest.mark.parametrize("change", [{"text": False}, {"tcpm": False}, {"text_encoder": None}])
def test_a_network_that_takes_no_text_has_no_prompts(
    change: dict[str, bool | None], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "small", replace(NETWORK, **change))
    assert create_checkpoint("small", weights=weights).prompts == {}


@pytest.mark.parametrize("change", [{"scpm": False}, {"prior": None}])
def test_a_network_without_a_pretrained_prior_needs_no_weights(
    change: dict[str, bool | None], text_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "small", replace(NETWORK, **change))
    made = create_checkpoint("small", text_encoder=text_encoder)
    assert set(made.prompts) == set(PROMPTS)
    made.build_network()


def test_weights_that_nothing_would_use_are_refused(weights: Path) -> None:
    with pytest.raises(ValueError, match=r"tiny.*ConvNeXt"):
        create_checkpoint("tiny", weights=weights)
    with pytest.raises(ValueError, match=r"tiny.*ConvNeXt"):
        upfusion.load("tiny", weights=weights)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_left_out_is_switched_off_alone(part: str, weights: Path, text_encoder: Path) -> None:
    priors = {} if part == "scpm" else {"weights": weights}
    made = create_checkpoint("small", **priors, text_encoder=text_encoder, without=(part,))
    assert made.config == replace(NETWORK, **{part: False})
    assert made.name == f"small-without-{part}"
    assert made.weights.keys() == UPFusion(made.config).state_dict().keys()
    assert set(made.prompts) == (set() if part in ("tcpm", "text") else set(PROMPTS))


def test_several_parts_are_left_out_together() -> None:
    made = create_checkpoint("small", pretrained=False, without=iter(("scpm", "text")))
    assert made.config == replace(NETWORK, scpm=False, text=False)
    assert made.name == "small-without-scpm-without-text"
    assert PRESETS["small"] == NETWORK


def test_weights_of_a_part_that_is_left_out_are_refused(weights: Path) -> None:
    with pytest.raises(ValueError, match="weights"):
        create_checkpoint("small", weights=weights, without=("scpm",))


@pytest.mark.parametrize("part", ["head", "residual", "channels"])
def test_an_unknown_part_is_refused_with_the_known_ones(part: str) -> None:
    with pytest.raises(ValueError, match=f"'{part}'.*scpm, gam, tcpm, text"):
        create_checkpoint("small", pretrained=False, without=("gam", part))


@pytest.mark.parametrize("pretrained", [True, False])
def test_an_unknown_preset_is_refused_with_the_known_ones(pretrained: bool) -> None:
    with pytest.raises(ValueError, match=r"'huge'.*paper, base, tiny"):
        create_checkpoint("huge", pretrained=pretrained)


def test_a_model_to_train_is_loaded_and_fuses_nothing_yet(weights: Path, text_encoder: Path) -> None:
    model = upfusion.load("small", "cpu", weights=weights, text_encoder=text_encoder)
    assert torch.equal(model.network.scpm.prior.stem[0].weight, make_convnext()["stem.0.weight"])
    image = np.zeros((16, 16), np.uint8)
    with pytest.raises(ValueError, match=r"small.*untrained.*tiny"):
        model.fuse(image, image, task="ct_mri")
    lumas = torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16)
    assert model.fuse_lumas(*lumas, model.guidance.embed("ct_mri")[None]).shape == (1, 1, 16, 16)
