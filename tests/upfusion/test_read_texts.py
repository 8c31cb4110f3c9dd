import torch
from torch.nn import functional as F

from upfusion.prompts import PROMPTS
from upfusion.read_texts import fit_reader, make_lessons, measure_reader
from upfusion.reader_sentences import Sentence
from upfusion.wishes import UNHEARD, Wish

KINDS = (Wish(balance=1), Wish(balance=-1), Wish(hot=1), Wish(dark=1), Wish(quiet=1), Wish())


def _sentences(each: int) -> list[Sentence]:
    return [Sentence(f"{wish} {number}", wish, str(wish)) for wish in KINDS for number in range(each)]


def _embed(sentences: list[Sentence]) -> torch.Tensor:
    """Put every kind of sentence around a direction of its own."""
    generator = torch.Generator().manual_seed(0)
    kind_NT = torch.stack([torch.eye(16)[KINDS.index(sentence.wish)] for sentence in sentences])
    return F.normalize(kind_NT + 0.1 * torch.randn(len(sentences), 16, generator=generator), dim=1)


def test_a_fitted_reader_reads_sentences_it_has_not_seen() -> None:
    sentences = _sentences(40)
    lessons = make_lessons(sentences, _embed(sentences))
    learned = torch.arange(len(sentences)) % 2 == 0
    reader = fit_reader(lessons.take(learned), epochs=60)
    shares = measure_reader(reader, lessons.take(~learned))
    assert set(shares) == {"more A", "more B", "hot", "dark", "quiet", "nothing"}
    assert min(shares.values()) > 0.9


def test_the_same_seed_gives_the_same_reader() -> None:
    sentences = _sentences(4)
    lessons = make_lessons(sentences, _embed(sentences))
    one, other = (fit_reader(lessons, epochs=2).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_to_be_read_passes_the_threshold_as_it_was_asked() -> None:
    lessons = make_lessons([Sentence("a", Wish(balance=-0.3, hot=1), "a")], torch.ones(1, 4))
    passed = F.softshrink(lessons.read, UNHEARD) / (1 - UNHEARD)
    torch.testing.assert_close(passed, torch.tensor([[-0.3, 1.0, 0.0, 0.0]]))


def test_built_in_prompts_weigh_most() -> None:
    prompt = PROMPTS["general"]
    sentences = [
        Sentence(prompt, Wish(), prompt),
        Sentence("tea", Wish(), "tea"),
        Sentence("more MRI", Wish(balance=0.6), "more {x}", names=1),
        Sentence("less MRI", Wish(balance=-0.6), "less {x}", names=1),
    ]
    weights = make_lessons(sentences, torch.ones(4, 4)).weight.tolist()
    assert weights == sorted(weights, reverse=True)
    assert len(set(weights)) == 4
