"""Trains the reader of texts from sentences alone: no image takes part.

To make the file of an encoder from its local copy: `python -m upfusion.read_texts LOCATION [ENCODER TEXT_DIM]`. It
embeds some 11 500 sentences, which takes minutes on one CPU core, fits a reader once per fold to measure what it makes
of templates it has never seen, fits the reader that ships on all, and writes `upfusion/text_readers/`.

Shape suffixes: N sentences, T text dimension, W wishes.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from upfusion.prompts import PROMPTS
from upfusion.reader_sentences import Sentence, read_sentences
from upfusion.text import load_text_encoder
from upfusion.wishes import READERS, UNHEARD, TextReader, Wish, join_factors

EPOCHS, BATCH, RATE, DECAY = 40, 512, 3e-3, 0.1

NOISE = 0.8
"""Largest length of the noise added to an embedding of length 1: other words for the same."""

PROMPT_WEIGHT, NOTHING_WEIGHT, LESS_WEIGHT = 100.0, 6.0, 0.8
"""Weights of the built-in prompts, of what asks for nothing, and of "less" of a source: real requests mostly affirm."""

FACTOR_WEIGHT = 0.5
"""How much the factors of the balance count beside the wishes."""

STEEPNESS = 3.0
"""Steepness of the losses of both signs. With distances instead, an unusual wording is read as nothing."""

FOLDS = 4


@dataclass(frozen=True)
class Lessons:
    """N embedded sentences with what is to be read from them."""

    text: Tensor
    """(N, T)."""
    read: Tensor
    """(N, W), what is to be read before the threshold."""
    source: Tensor
    """(N,), the source that is named: 1 is B, -1 is A, 0 is none."""
    weight: Tensor
    """(N,)."""

    def take(self, rows: Tensor) -> "Lessons":
        return Lessons(self.text[rows], self.read[rows], self.source[rows], self.weight[rows])


def make_lessons(sentences: Sequence[Sentence], text_NT: Tensor) -> Lessons:
    """Join sentences and their embeddings."""
    wish_NW = torch.tensor([sentence.wish for sentence in sentences])
    read_NW = wish_NW.sign() * (wish_NW.abs() * (1 - UNHEARD) + UNHEARD)
    source_N = torch.tensor([float(sentence.names) for sentence in sentences])
    return Lessons(text_NT, read_NW, source_N, torch.tensor([_weight(sentence) for sentence in sentences]))


def fit_reader(lessons: Lessons, epochs: int = EPOCHS, seed: int = 0) -> TextReader:
    """Fit a reader to sentences; the same seed gives the same reader on one machine."""
    torch.manual_seed(seed)
    reader = TextReader(lessons.text.shape[1])
    optimizer = torch.optim.AdamW(reader.parameters(), lr=RATE, weight_decay=DECAY)
    batches = -(-len(lessons.text) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * batches, pct_start=0.1)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(lessons.text)), BATCH):
            loss = _loss(reader, lessons.take(rows))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return reader.eval()


@torch.no_grad()
def measure_reader(reader: TextReader, lessons: Lessons) -> dict[str, float]:
    """Return shares in 0..1 read right, by wish, of sentences that ask for one thing, and of those for nothing."""
    read_NW, asked_NW = reader(lessons.text), lessons.read
    one_N = (asked_NW != 0).sum(1) == 1
    balance_N = asked_NW[:, 0]
    shares = {
        side: _share((read_NW[:, 0] * sign > 0.15)[one_N & (balance_N * sign > 0)])
        for side, sign in (("more A", -1), ("more B", 1))
    }
    for column, name in enumerate(Wish._fields[1:], start=1):
        shares[name] = _share((read_NW[:, column] > 0.3)[one_N & (asked_NW[:, column] > 0.6)])
    return shares | {"nothing": _share((read_NW.abs() < 0.2).all(1)[(asked_NW == 0).all(1)])}


def cross_validate(sentences: Sequence[Sentence], lessons: Lessons) -> dict[str, float]:
    """Return the mean over folds of `measure_reader`, each on templates that its reader has not seen."""
    groups = sorted({sentence.group for sentence in sentences})
    shuffled = torch.randperm(len(groups), generator=torch.Generator().manual_seed(0)).tolist()
    fold_of = {groups[index]: number % FOLDS for number, index in enumerate(shuffled)}
    fold_N = torch.tensor([fold_of[sentence.group] for sentence in sentences])
    folds = []
    for fold in range(FOLDS):
        reader = fit_reader(lessons.take((fold_N != fold).nonzero()[:, 0]))
        folds.append(measure_reader(reader, lessons.take((fold_N == fold).nonzero()[:, 0])))
    return {name: sum(shares[name] for shares in folds) / FOLDS for name in folds[0]}


def _weight(sentence: Sentence) -> float:
    if sentence.group in PROMPTS.values():
        return PROMPT_WEIGHT
    if not any(sentence.wish):
        return NOTHING_WEIGHT
    return LESS_WEIGHT if sentence.names * sentence.wish.balance < 0 else 1.0


def _loss(reader: TextReader, lessons: Lessons) -> Tensor:
    factors_NX, asked_NW = reader.factors(_add_noise(lessons.text)), lessons.read
    wishes_N = (join_factors(factors_NX) - asked_NW).square().mean(1)
    source_N, more_N, amount_N = factors_NX[:, :3].unbind(1)
    side_N, named_N = asked_NW[:, 0].sign(), lessons.source != 0
    signs_N = F.softplus(-STEEPNESS * source_N * lessons.source)
    signs_N = signs_N + F.softplus(-STEEPNESS * more_N * side_N * lessons.source)
    unnamed_N = 0.5 * F.softplus(-2 * STEEPNESS * source_N * more_N * side_N) * (side_N != 0)
    factors_N = torch.where(named_N, signs_N, unnamed_N) + (amount_N - asked_NW[:, 0].abs()).square()
    return ((wishes_N + FACTOR_WEIGHT * factors_N) * lessons.weight).mean()


def _add_noise(text_NT: Tensor) -> Tensor:
    length_N1 = NOISE * torch.rand(len(text_NT), 1)
    return F.normalize(text_NT + torch.randn_like(text_NT) * length_N1 / text_NT.shape[1] ** 0.5, dim=1)


def _share(right_N: Tensor) -> float:
    return right_N.float().mean().item()


def main(location: str, encoder: str, text_dim: int) -> None:
    """Train the reader of an encoder and write it."""
    sentences = read_sentences()
    lessons = make_lessons(sentences, load_text_encoder(encoder, text_dim, location)([s.text for s in sentences]))
    for name, share in cross_validate(sentences, lessons).items():
        sys.stdout.write(f"{name}: {share:.1%} read right of templates never seen\n")
    READERS.mkdir(exist_ok=True)
    path = READERS / f"{encoder.replace('/', '-')}.safetensors"
    save_file(fit_reader(lessons).state_dict(), path)
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 4):
        sys.exit(__doc__)
    location, *rest = sys.argv[1:]
    encoder, text_dim = rest or ("all-MiniLM-L6-v2", "384")
    main(location, encoder, int(text_dim))
