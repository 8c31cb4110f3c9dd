from dataclasses import replace

import numpy as np
import pytest
import torch

from upfusion.checkpoint import EMBEDDED, Checkpoint, parse_checkpoint
from upfusion.model import FusionModel
from upfusion.presets import PRESETS
from upfusion.prompt_exchange import EXCHANGES, exchange_prompts
from upfusion.prompts import TASKS


@pytest.fixture(scope="module")
def tiny() -> Checkpoint:
    return parse_checkpoint((EMBEDDED / "tiny.safetensors").read_bytes(), "tiny")


def _stands_for(exchanged: Checkpoint, original: Checkpoint) -> dict[str, str]:
    """Return the name of the original prompt that each task has now."""
    return {
        task: next(
            name
            for name, prompt in original.prompts.items()
            if prompt.text == exchanged.prompts[task].text
            and torch.equal(prompt.embedding, exchanged.prompts[task].embedding)
        )
        for task in TASKS
    }


def test_the_right_prompts_are_the_models_own(tiny: Checkpoint) -> None:
    assert exchange_prompts(tiny, "right") is tiny


def test_the_general_prompt_takes_the_place_of_every_other(tiny: Checkpoint) -> None:
    assert _stands_for(exchange_prompts(tiny, "general"), tiny) == dict.fromkeys(TASKS, "general")


def test_a_wrong_prompt_is_that_of_another_kind_of_sensor(tiny: Checkpoint) -> None:
    assert _stands_for(exchange_prompts(tiny, "wrong"), tiny) == {
        "ir_visible": "pet_mri",
        "nir_visible": "pet_mri",
        "sar_optical": "pet_mri",
        "ct_mri": "ir_visible",
        "pet_mri": "ir_visible",
        "spect_mri": "ir_visible",
    }


def test_noise_has_the_norm_of_the_prompt_and_nothing_else_of_it(tiny: Checkpoint) -> None:
    noisy = exchange_prompts(tiny, "noise").prompts
    for task in TASKS:
        own, noise = tiny.prompts[task].embedding, noisy[task].embedding
        torch.testing.assert_close(noise.norm(), own.norm())
        assert abs(torch.cosine_similarity(noise, own, dim=0)) < 0.3
        assert noisy[task].text != tiny.prompts[task].text
    assert len({noisy[task].text for task in TASKS}) == len(TASKS)
    assert not torch.equal(noisy["ct_mri"].embedding, noisy["pet_mri"].embedding)


def test_noise_is_decided_by_its_seed_and_no_generator_but_its_own(tiny: Checkpoint) -> None:
    first, other = exchange_prompts(tiny, "noise", seed=1), exchange_prompts(tiny, "noise", seed=2)
    state = torch.random.get_rng_state()
    again = exchange_prompts(tiny, "noise", seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    for task in TASKS:
        assert torch.equal(first.prompts[task].embedding, again.prompts[task].embedding)
        assert not torch.equal(first.prompts[task].embedding, other.prompts[task].embedding)


@pytest.mark.parametrize("exchange", [name for name in EXCHANGES if name != "right"])
def test_an_exchange_leaves_the_weights_the_general_prompt_and_the_model_itself(
    tiny: Checkpoint, exchange: str
) -> None:
    digest = tiny.digest
    exchanged = exchange_prompts(tiny, exchange)
    assert exchanged.name == f"tiny-{exchange}-prompts"
    assert exchanged.digest != digest
    assert exchanged.weights is tiny.weights
    assert exchanged.config == tiny.config
    assert list(exchanged.prompts) == list(tiny.prompts)
    assert exchanged.prompts["general"] is tiny.prompts["general"]
    assert parse_checkpoint(tiny.to_bytes(), "tiny").digest == digest


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_exchanged_model_survives_a_file(tiny: Checkpoint, exchange: str) -> None:
    exchanged = exchange_prompts(tiny, exchange)
    read = parse_checkpoint(exchanged.to_bytes(), "exchanged.safetensors")
    assert (read.digest, read.name) == (exchanged.digest, exchanged.name)
    for name, prompt in exchanged.prompts.items():
        assert read.prompts[name].text == prompt.text
        assert torch.equal(read.prompts[name].embedding, prompt.embedding)


def test_a_model_fuses_otherwise_without_its_own_prompts(tiny: Checkpoint) -> None:
    a, b = np.random.default_rng(0).integers(0, 256, (2, 48, 60), dtype=np.uint8)
    fused = {
        exchange: FusionModel(exchange_prompts(tiny, exchange), "cpu").fuse(a, b, task="ct_mri")
        for exchange in EXCHANGES
    }
    own = FusionModel(tiny, "cpu")
    np.testing.assert_array_equal(fused["right"], own.fuse(a, b, task="ct_mri"))
    np.testing.assert_array_equal(fused["general"], own.fuse(a, b, prompt="general"))
    np.testing.assert_array_equal(fused["wrong"], own.fuse(a, b, task="ir_visible"))
    assert (fused["noise"] != fused["right"]).any()


def test_an_unknown_exchange_is_refused_with_the_known_ones(tiny: Checkpoint) -> None:
    with pytest.raises(ValueError, match=r"'none'.*right, general, wrong, noise"):
        exchange_prompts(tiny, "none")


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_model_without_prompts_has_none_to_exchange(tiny: Checkpoint, exchange: str) -> None:
    textless = replace(tiny, name="mute", config=replace(PRESETS["tiny"], text=False))
    some = replace(tiny, name="mute", prompts={name: tiny.prompts[name] for name in ("general", "ct_mri")})
    for checkpoint in (textless, some, replace(tiny, name="mute", prompts={})):
        with pytest.raises(ValueError, match=r"mute.*prompt"):
            exchange_prompts(checkpoint, exchange)
