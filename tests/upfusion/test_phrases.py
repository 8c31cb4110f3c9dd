from pathlib import Path

import pytest
import torch

from upfusion import phrase_bank
from upfusion.phrase_bank import digest_texts, load_phrase_bank
from upfusion.phrases import PHRASES, Wish
from upfusion.phrases_unrelated import UNRELATED
from upfusion.prompts import PROMPTS

ENCODER = "all-MiniLM-L6-v2"


def _share(kind: str) -> float:
    return sum(getattr(wish, kind) != 0 for wish in PHRASES.values()) / len(PHRASES)


def test_there_are_enough_phrases_and_none_twice() -> None:
    assert len(PHRASES) >= 700
    assert len({text.casefold() for text in PHRASES}) == len(PHRASES)
    assert len(UNRELATED) >= 200
    assert len(set(UNRELATED)) == len(UNRELATED)


def test_wishes_are_in_range() -> None:
    for wish in PHRASES.values():
        assert -1 <= wish.balance <= 1
        assert all(0 <= value <= 1 for value in tuple(wish)[1:])


def test_phrases_are_short_and_tidy() -> None:
    for text in PHRASES:
        assert 0 < len(text.split()) < 60
        assert text == " ".join(text.split())
        assert not set("{}") & set(text) or text in UNRELATED


def test_every_wish_has_its_share() -> None:
    assert 0.40 <= _share("balance") <= 0.55
    for kind in ("hot", "dark", "quiet"):
        assert 0.08 <= _share(kind) <= 0.16
    nothing = sum(wish == Wish() for wish in PHRASES.values())
    assert nothing / len(PHRASES) >= 0.15


def test_neither_source_is_asked_for_more_than_the_other() -> None:
    balances = [wish.balance for wish in PHRASES.values()]
    assert abs(sum(balances) / len(balances)) < 0.01
    for strength in (0.3, 0.6, 1.0):
        towards_a, towards_b = balances.count(-strength), balances.count(strength)
        assert towards_a == pytest.approx(towards_b, rel=0.05)
        assert towards_a >= 50


def test_built_in_prompts_and_unrelated_sentences_ask_for_nothing() -> None:
    assert all(PHRASES[text] == Wish() for text in (*PROMPTS.values(), *UNRELATED))


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("more infrared", Wish(balance=0.6)),
        ("less daylight", Wish(balance=0.6)),
        ("natural colours", Wish(balance=-0.6)),
        ("keep people bright", Wish(hot=1.0)),
        ("reveal what is in the shadows", Wish(dark=1.0)),
        ("suppress noise", Wish(quiet=1.0)),
        ("image fusion", Wish()),
    ],
)
def test_examples(text: str, wish: Wish) -> None:
    assert PHRASES[text] == wish


def test_the_bank_of_the_package_fits_the_phrases() -> None:
    bank = load_phrase_bank(ENCODER)
    assert bank is not None
    assert bank.texts == tuple(PHRASES)
    assert bank.wishes.shape == (len(PHRASES), 4)
    assert bank.wishes[bank.texts.index("less infrared"), 0] == pytest.approx(-0.6)
    assert bank.embeddings.dtype == torch.float32
    torch.testing.assert_close(bank.embeddings.norm(dim=-1), torch.ones(len(PHRASES)))


def test_the_bank_has_the_embeddings_of_its_texts_in_their_order() -> None:
    """Guards against a mix-up of rows: the embeddings of the built-in prompts are known from a checkpoint."""
    from upfusion.checkpoint import EMBEDDED, parse_checkpoint

    bank = load_phrase_bank(ENCODER)
    assert bank is not None
    path = EMBEDDED / "tiny.safetensors"
    for prompt in parse_checkpoint(path.read_bytes(), str(path)).prompts.values():
        if prompt.text in PHRASES:
            row = bank.embeddings[bank.texts.index(prompt.text)]
            torch.testing.assert_close(row, prompt.embedding.float(), atol=2e-3, rtol=0)


def test_an_encoder_without_a_bank_has_none() -> None:
    assert load_phrase_bank("ViT-B-32/openai") is None


def test_a_bank_of_other_texts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phrase_bank, "PHRASES", {"one": Wish()})
    with pytest.raises(ValueError, match="texts_sha256"):
        load_phrase_bank(ENCODER)


def test_making_a_bank_and_loading_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phrase_bank, "BANKS", tmp_path / "banks")
    monkeypatch.setattr(phrase_bank, "PHRASES", {"one": Wish(), "more": Wish(balance=0.6, quiet=0.5)})
    vectors_NT = torch.tensor([[0.6, 0.8], [1.0, 0.0]])
    monkeypatch.setattr(phrase_bank, "load_text_encoder", lambda *_: lambda _: vectors_NT)
    path = phrase_bank.make_phrase_bank("some/encoder", 2, "anywhere")
    assert path.name == "some-encoder.safetensors"
    bank = load_phrase_bank("some/encoder")
    assert bank is not None
    torch.testing.assert_close(bank.embeddings, vectors_NT, atol=1e-3, rtol=0)
    torch.testing.assert_close(bank.wishes, torch.tensor([[0.0, 0, 0, 0], [0.6, 0, 0, 0.5]]))


def test_the_digest_depends_on_the_order_and_the_borders_of_texts() -> None:
    assert len({digest_texts(texts) for texts in (["a", "b"], ["b", "a"], ["ab"])}) == 3
