from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from upfusion import guidance
from upfusion.checkpoint import Checkpoint, Prompt, Provenance, parse_checkpoint
from upfusion.guidance import Guidance
from upfusion.presets import NetworkConfig
from upfusion.prompts import PROMPTS, TASKS
from upfusion.text import TextEncoder, embed_bank

from .small_priors import CLIP, NETWORK, TEXT_DIM, encode_by, make_clip, write_clip

STEERED = replace(NETWORK, text_gate=True)

NOWHERE = "/no/text/encoder/lies/here"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("models") / "clip", make_clip())


@pytest.fixture(scope="module")
def bank(encoder: Path) -> dict[str, Prompt]:
    return embed_bank(PROMPTS, CLIP, TEXT_DIM, encoder)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that was encoded, with a line for each time that an encoder was loaded."""
    said: list[str] = []
    load = guidance.load_text_encoder

    def load_and_listen(name: str, text_dim: int, location: str | Path | None) -> TextEncoder:
        said.append("(load)")
        encode = load(name, text_dim, location)

        def listen(texts: Sequence[str]) -> Tensor:
            said.extend(texts)
            return encode(texts)

        return listen

    monkeypatch.setattr(guidance, "load_text_encoder", load_and_listen)
    return said


def test_the_prompt_of_every_task_comes_from_the_bank_without_an_encoder(bank: dict[str, Prompt]) -> None:
    found = Guidance(_checkpoint(bank), NOWHERE)
    for task in TASKS:
        assert torch.equal(found.embed(task), bank[task].embedding)
    assert len({tuple(found.embed(task).tolist()) for task in TASKS}) == len(TASKS)


@pytest.mark.parametrize("prompt", ["general", PROMPTS["general"]], ids=["by name", "by text"])
def test_another_prompt_of_the_bank_needs_no_encoder_either(bank: dict[str, Prompt], prompt: str) -> None:
    assert torch.equal(Guidance(_checkpoint(bank), NOWHERE).embed("ct_mri", prompt), bank["general"].embedding)


def test_a_bank_with_one_text_serves_every_task(bank: dict[str, Prompt]) -> None:
    only = Prompt("Fuse them.", bank["general"].embedding)
    found = Guidance(_checkpoint({"general": only}), NOWHERE)
    for task in TASKS:
        assert torch.equal(found.embed(task), only.embedding)
    assert torch.equal(found.embed("ct_mri", "pet_mri"), only.embedding)


@pytest.mark.parametrize("prompt", [None, "general"])
def test_without_a_bank_the_built_in_text_is_encoded(encoder: Path, prompt: str | None) -> None:
    embedding_T = Guidance(_checkpoint({}), encoder).embed("ct_mri", prompt)
    expected = encode_by(make_clip(), PROMPTS[prompt or "ct_mri"])[0]
    torch.testing.assert_close(embedding_T, expected)


def test_a_prompt_of_ones_own_is_encoded_once(bank: dict[str, Prompt], encoder: Path, encoded: list[str]) -> None:
    found = Guidance(_checkpoint(bank), encoder)
    found.embed("ct_mri")
    assert encoded == []
    embedding_T = found.embed("ct_mri", "Keep the bone.")
    torch.testing.assert_close(embedding_T, encode_by(make_clip(), "Keep the bone.")[0])
    first_of_the_bank = next(iter(bank.values())).text
    assert encoded == ["(load)", first_of_the_bank, "Keep the bone."]
    assert torch.equal(found.embed("pet_mri", "Keep the bone."), embedding_T)
    found.embed("ct_mri", "Keep the skull.")
    assert encoded[3:] == ["Keep the skull."]


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        ({"less visible": -0.2, "more thermal": 0.6}, "more thermal"),
        ({"less visible": -0.9, "more thermal": 0.6}, "less visible"),
        ({}, "less visible"),
    ],
)
def test_a_text_about_both_sources_is_guided_by_the_part_that_says_most(
    encoder: Path, monkeypatch: pytest.MonkeyPatch, read: dict[str, float], expected: str
) -> None:
    _read_as(monkeypatch, {text: [balance, 0.0, 0.0, 0.0] for text, balance in read.items()})
    embedding_T = Guidance(_checkpoint({}, STEERED), encoder).embed("ct_mri", "less visible, more thermal")
    torch.testing.assert_close(embedding_T, encode_by(make_clip(), expected)[0])


def test_a_text_about_both_sources_that_asks_for_something_else_is_read_whole(
    encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "make hot people bright in the thermal and the visible"
    _read_as(monkeypatch, {text: [0.0, 0.8, 0.0, 0.0]})
    torch.testing.assert_close(
        Guidance(_checkpoint({}, STEERED), encoder).embed("ct_mri", text), encode_by(make_clip(), text)[0]
    )


def test_without_a_reader_a_text_about_both_sources_is_embedded_whole(encoder: Path) -> None:
    text = "less visible, more thermal"
    torch.testing.assert_close(
        Guidance(_checkpoint({}), encoder).embed("ct_mri", text), encode_by(make_clip(), text)[0]
    )


def test_the_encoder_still_fits_after_the_bank_was_in_a_file(bank: dict[str, Prompt], encoder: Path) -> None:
    read = parse_checkpoint(_checkpoint(bank).to_bytes(), "mine")
    torch.testing.assert_close(
        Guidance(read, encoder).embed("ct_mri", "Keep the bone."), encode_by(make_clip(), "Keep the bone.")[0]
    )


def test_embeddings_of_two_encoders_are_not_mixed(bank: dict[str, Prompt], tmp_path: Path) -> None:
    foreign = write_clip(tmp_path / "foreign", make_clip(seed=1))
    found = Guidance(_checkpoint(bank), foreign)
    for _ in range(2):
        with pytest.raises(ValueError, match=rf"{foreign}.*{CLIP}"):
            found.embed("ct_mri", "Keep the bone.")
    assert torch.equal(found.embed("ct_mri"), bank["ct_mri"].embedding)


def test_a_missing_encoder_is_named_only_when_it_is_needed(bank: dict[str, Prompt]) -> None:
    found = Guidance(_checkpoint(bank), NOWHERE)
    found.embed("ct_mri")
    with pytest.raises(FileNotFoundError, match=str(NOWHERE)):
        found.embed("ct_mri", "Keep the bone.")


def test_where_nobody_knows_the_encoder_only_the_bank_is_used(bank: dict[str, Prompt], encoder: Path) -> None:
    unknown = replace(NETWORK, text_encoder=None)
    found = Guidance(_checkpoint(bank, unknown), encoder)
    assert torch.equal(found.embed("ct_mri"), bank["ct_mri"].embedding)
    with pytest.raises(ValueError, match=r"mine.*unknown"):
        found.embed("ct_mri", "Keep the bone.")
    with pytest.raises(ValueError, match=r"mine.*unknown"):
        Guidance(_checkpoint({}, unknown), encoder).embed("ct_mri")


@pytest.mark.parametrize("part", ["text", "tcpm"])
def test_a_network_without_text_gets_zeros_and_no_prompt(part: str) -> None:
    found = Guidance(_checkpoint({}, replace(NETWORK, **{part: False})), NOWHERE)
    assert torch.equal(found.embed("ct_mri"), torch.zeros(TEXT_DIM))
    with pytest.raises(ValueError, match=r"mine.*prompt"):
        found.embed("ct_mri", "general")


@pytest.mark.parametrize("prompt", [None, "Keep the bone."])
def test_an_unknown_task_is_refused_with_the_known_ones(bank: dict[str, Prompt], prompt: str | None) -> None:
    with pytest.raises(ValueError, match=r"'x_ray'.*ir_visible, ct_mri, .*sar_optical"):
        Guidance(_checkpoint(bank), NOWHERE).embed("x_ray", prompt)


@pytest.mark.parametrize("prompt", ["", " \n"])
def test_an_empty_prompt_is_refused(bank: dict[str, Prompt], prompt: str) -> None:
    with pytest.raises(ValueError, match=r"prompt.*empty"):
        Guidance(_checkpoint(bank), NOWHERE).embed("ct_mri", prompt)


def _read_as(monkeypatch: pytest.MonkeyPatch, wishes: dict[str, list[float]]) -> None:
    """Have texts read as given, and all others as asking for nothing."""
    known = [(encode_by(make_clip(), text)[0], torch.tensor(wish)) for text, wish in wishes.items()]

    def read(text_NT: Tensor) -> Tensor:
        found = ([wish for known_T, wish in known if torch.allclose(known_T, text_T)] for text_T in text_NT)
        return torch.stack([matching[0] if matching else torch.zeros(4) for matching in found])

    monkeypatch.setattr(Guidance, "_reader", lambda _: read)


def _checkpoint(prompts: dict[str, Prompt], config: NetworkConfig = NETWORK) -> Checkpoint:
    """A checkpoint without weights, which nothing here needs."""
    return Checkpoint(name="mine", config=config, weights={}, prompts=prompts, provenance=Provenance())
