"""The sentences that a `TextReader` learns from: those of upfusion/reader_texts/, with every choice and name filled in.

The files hold templates, one per line, each with what it asks for. `[a|b]` is a choice, `!` at the start marks a
command, and `{x}`, `{y}`, `{target}`, `{place}`, `{noise}` are filled with names. What is filled in is drawn from the
template's own text, so that a template added to a file leaves the sentences of all others as they are.
"""

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from upfusion.phrases import NEUTRAL
from upfusion.phrases_unrelated import UNRELATED
from upfusion.prompts import PROMPTS
from upfusion.wishes import Wish

TEXTS = Path(__file__).parent / "reader_texts"

PER_SOURCE, PER_TEMPLATE = 9, 10
"""How many sentences are made of one template: for either source, and where it is not about a source."""

FRAMES = (
    "{s}, please", "please {s}", "please: {s}", "{s} please", "hi, {s}", "{s}. thanks!", "well, {s}", "ok, {s}",
    "for this one: {s}", "this time {s}", "{s} if possible", "next time: {s}", "my request: {s}", "{s}!",
    "one remark: {s}", "note: {s}", "to be honest, {s}", "{s}, thank you", "sorry, but {s}", "at the moment {s}",
)  # fmt: skip
"""What people put around any sentence; unrelated sentences get the same."""

COMMANDS = (
    "please {s}", "could you {s}?", "can you {s}", "can we {s}?", "I want you to {s}", "I'd like you to {s}",
    "would you {s}?", "you should {s}", "try to {s}", "we need to {s}", "let's {s}", "it would help to {s}",
    "I'd like to {s}", "it is important to {s}", "make sure to {s}", "the idea is to {s}", "be so kind as to {s}",
    "I ask you to {s}", "would it be possible to {s}?", "how about this: {s}", "remember to {s}", "just {s}",
)  # fmt: skip


@dataclass(frozen=True)
class Sentence:
    """A text, what it asks for, and the template it was made of."""

    text: str
    wish: Wish
    group: str
    names: int = 0
    """The source it names to have more or less of it: 1 is B, -1 is A, 0 where it names none or is about both."""


def read_sentences() -> list[Sentence]:
    """Return all sentences, none twice and always in the same order."""
    sentences = [*_about_sources(), *_about_other(), *_about_two_things(), *_about_nothing()]
    return list({sentence.text.casefold(): sentence for sentence in reversed(sentences)}.values())[::-1]


def _about_sources() -> Iterator[Sentence]:
    names = read_names()
    for strength, template in _lines("sources"):
        for towards, sign in (("b", 1), ("a", -1)):
            rng = _rng(towards + template)
            for _ in range(PER_SOURCE):
                family = rng.choices(list(names), weights=[10, 6, 2, 2, 3])[0]
                x, y = (rng.choice(names[family][side]) for side in (towards, "ab"[towards == "a"]))
                wish = Wish(balance=sign * float(strength))
                yield Sentence(_finish(template, rng, x=x, y=y), wish, template, names=sign)


def _about_other() -> Iterator[Sentence]:
    fill = _fillings()
    for name in ("balance", "hot", "dark", "quiet"):
        for strength, template in _lines(name):
            rng = _rng(template)
            for _ in range(_count(template)):
                words = {slot: rng.choice(choices) for slot, choices in fill.items()}
                yield Sentence(_finish(template, rng, **words), Wish(**{name: float(strength)}), template)


def _about_two_things() -> Iterator[Sentence]:
    """Join every template of one wish with one of another, with any template of it."""
    single: dict[str, list[Sentence]] = {}
    for sentence in (*_about_sources(), *_about_other()):
        (kind,) = (name for name, value in sentence.wish._asdict().items() if value)
        single.setdefault(kind, []).append(sentence)
    rng = _rng("two things")
    for _ in range(900):
        kinds = rng.sample(list(single), 2)
        one, other = (rng.choice(single[kind]) for kind in kinds)
        if max(len(one.text), len(other.text)) > 60:
            continue
        joined = rng.choice(("{} and {}", "{}, {}", "{}; {}", "{}. {}", "{}, but {}")).format(one.text, other.text)
        asked = {kind: getattr(sentence.wish, kind) for kind, sentence in zip(kinds, (one, other), strict=True)}
        yield Sentence(joined, Wish(**asked), one.group)


def _about_nothing() -> Iterator[Sentence]:
    names, fill = read_names(), _fillings()
    for text in (*PROMPTS.values(), *NEUTRAL, *UNRELATED):
        yield Sentence(text, Wish(), text)
    for (template,) in _lines("nothing"):
        rng = _rng(template)
        for _ in range(_count(template)):
            family = rng.choice(list(names))
            sides = rng.sample(("a", "b"), 2)
            x, y = (rng.choice(names[family][side]) for side in sides)
            words = {slot: rng.choice(choices) for slot, choices in fill.items()}
            yield Sentence(_finish(template, rng, x=x, y=y, **words), Wish(), template)


def read_names() -> dict[str, dict[str, list[str]]]:
    """Return the names of the sources A and B by the family of sensors they belong to."""
    names: dict[str, dict[str, list[str]]] = {}
    for family, source, choices in _lines("names"):
        names.setdefault(family, {})[source] = choices.split("|")
    return names


def _fillings() -> dict[str, list[str]]:
    return {slot: choices.split("|") for slot, choices in _lines("fillings")}


def _lines(name: str) -> Iterator[list[str]]:
    for line in (TEXTS / f"{name}.tsv").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("# "):
            yield line.split("\t")


def _rng(key: str) -> random.Random:
    return random.Random(hashlib.sha256(key.encode()).digest())  # noqa: S311


def _count(template: str) -> int:
    """Return how many sentences to make: some with other frames where nothing else can change."""
    return PER_TEMPLATE if "{" in template or template.count("[") > 1 else 3 + 2 * template.count("[")


def _finish(template: str, rng: random.Random, **words: str) -> str:
    """Make a sentence of a template: choices made, names filled in, mostly left as it is, otherwise framed."""
    command = template.startswith("!")
    text = re.sub(r"\[([^\]]*)\]", lambda choice: rng.choice(choice[1].split("|")), template.removeprefix("!"))
    text = text.replace("{x}", words.get("x", "")).replace("{y}", words.get("y", ""))
    for slot in ("target", "place", "noise"):
        text = text.replace(f"{{{slot}}}", words.get(slot, ""))
    text = re.sub(r"\b(more|less|much|little|enough|most|any|some|no) (the|what) ", r"\1 of \2 ", text)
    text = " ".join(text.split()).replace(" ,", ",").replace("no of the", "nothing of the")
    if command and rng.random() < 0.4:
        return rng.choice(COMMANDS).format(s=text)
    if rng.random() < 0.25 and not text.endswith(("?", "!", ".")):
        return rng.choice(FRAMES).replace("{s}", text)
    return text
