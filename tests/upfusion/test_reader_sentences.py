from collections import Counter

from upfusion.prompts import PROMPTS
from upfusion.reader_sentences import read_sentences
from upfusion.wishes import Wish

SENTENCES = read_sentences()


def test_sentences_are_many_and_none_comes_twice() -> None:
    assert len(SENTENCES) > 9000
    assert len({sentence.text.casefold() for sentence in SENTENCES}) == len(SENTENCES)


def test_sentences_are_the_same_every_time() -> None:
    assert read_sentences() == SENTENCES


def test_every_choice_is_made_and_every_name_filled_in() -> None:
    for sentence in SENTENCES:
        assert sentence.text == " ".join(sentence.text.split())
        assert sentence.text
        assert not any(
            mark in sentence.text for mark in ("{x}", "{y}", "{target}", "{place}", "{noise}", "[", "]", "|")
        )


def test_wishes_are_in_range() -> None:
    for balance, *others in (sentence.wish for sentence in SENTENCES):
        assert -1 <= balance <= 1
        assert all(0 <= value <= 1 for value in others)


def test_both_sources_are_asked_for_alike_and_every_wish_often() -> None:
    sides = Counter((sentence.wish.balance > 0) - (sentence.wish.balance < 0) for sentence in SENTENCES)
    assert abs(sides[1] - sides[-1]) < 0.1 * sides[1]
    for name in ("hot", "dark", "quiet"):
        assert sum(getattr(sentence.wish, name) > 0 for sentence in SENTENCES) > 500


def test_built_in_prompts_ask_for_nothing() -> None:
    wishes = {sentence.text: sentence.wish for sentence in SENTENCES}
    assert all(wishes[prompt] == Wish() for prompt in PROMPTS.values())
