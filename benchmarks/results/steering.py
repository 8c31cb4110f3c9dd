"""How balance and texts steer the models that ship: a section of docs/results.md. About six minutes on one core.

    python -m benchmarks.results.steering LOCATION         embed paraphrases.tsv again

Sentences come embedded, in `paraphrases.safetensors`, so no text encoder is loaded. LOCATION is a local copy of
all-MiniLM-L6-v2, needed after a change of the sentences.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import upfusion
from benchmarks.results.page import write_sections
from benchmarks.results.sets import INFRARED, MEDICAL, MODELS, PICTURES, ROOT, UNSEEN, sets_of
from benchmarks.results.steering_pictures import draw_dial, draw_response
from benchmarks.results.steering_tables import (
    ABOUT,
    answers_table,
    cost_table,
    flicker_table,
    general_table,
    response_details,
    response_table,
)
from pipelines.evaluate.response import Crop, Setting, cut, load_crops, measure_response
from pipelines.evaluate.sets import find_sets
from pipelines.evaluate.steering import Answer, judge_answer, measure_steps
from upfusion.model import FusionModel
from upfusion.phrase_bank import digest_texts, load_phrase_bank

SENTENCES = Path(__file__).parent / "paraphrases.tsv"
EMBEDDED = SENTENCES.with_suffix(".safetensors")

SIDE = 192
"""Crops are the middle SIDE x SIDE pixels of a pair."""

JUDGING_PAIRS, JUDGING_SIDE = 20, 128
"""Sentences are judged by the mean over so many pairs, on crops of this side."""

BALANCES = (-1.0, -0.5, 0.0, 0.5, 1.0)
PHRASES = ("more infrared", "natural colours", "keep people bright", "reveal what is in the shadows", "suppress noise")


def write(_: Path) -> None:
    """Measure, draw, and write the section."""
    torch.set_num_threads(1)
    PICTURES.mkdir(exist_ok=True)
    tasks = dict.fromkeys(INFRARED, "ir_visible") | MEDICAL | UNSEEN
    crops = load_crops(find_sets(sets_of(tasks), None), SIDE)
    about = ABOUT.format(side=SIDE, pairs=len(crops))
    parts = [about, *(measure_model(upfusion.load(name, "cpu"), crops) for name in MODELS)]
    draw_dial(upfusion.load(MODELS[0], "cpu"), ROOT / "docs" / "dial.jpg")
    write_sections({"## Balance and texts": "\n\n".join(part.strip() for part in parts)})


def measure_model(model: FusionModel, crops: Sequence[Crop]) -> str:
    """Measure a model on all test pairs and return its part of the section; draws its picture."""
    at_balance = {
        balance: report(f"balance {balance:g}", model, crops, Setting(balance=balance)) for balance in BALANCES
    }
    of_phrase = {text: report(text, model, crops, Setting(embed(model, text))) for text in PHRASES}
    general = report("general", model, crops, Setting(model.guidance.embed("ir_visible", "general")))
    answers = judge_sentences(model, choose_pairs(crops))
    name = model.checkpoint.name
    draw_response(crops, at_balance, PICTURES / f"steering_{name}.png")
    parts = [
        f"### `{name}`",
        response_table(crops, at_balance),
        f"![Response of {name} to the balance](results/steering_{name}.png)",
        answers_table(answers),
        general_table(crops, at_balance[0.0], general),
        cost_table(model),
        flicker_table(model),
        response_details(crops, at_balance, of_phrase),
    ]
    return "\n\n".join(part.strip() for part in parts)


def report(name: str, model: FusionModel, crops: Sequence[Crop], setting: Setting) -> dict[str, Tensor]:
    """Measure a setting on all crops and say so."""
    sys.stderr.write(f"{name}\n")
    return measure_response(model, crops, setting)


def embed(model: FusionModel, phrase: str) -> Tensor:
    """Return the embedding of a phrase of the bank that ships."""
    bank = load_phrase_bank(model.checkpoint.config.text_encoder or "")
    if bank is None:
        sys.exit(f"there is no phrase bank of {model.checkpoint.config.text_encoder}")
    return bank.embeddings[bank.texts.index(phrase)]


def choose_pairs(crops: Sequence[Crop]) -> list[Crop]:
    """Take pairs from all sets in turn."""
    turns: dict[str, int] = {}
    order = []
    for crop in crops:
        turns[crop.set] = turns.get(crop.set, -1) + 1
        order.append(turns[crop.set])
    ranked = sorted(range(len(crops)), key=lambda row: (order[row], row))
    return [cut(crops[row], JUDGING_SIDE) for row in sorted(ranked[:JUDGING_PAIRS])]


def judge_sentences(model: FusionModel, crops: Sequence[Crop]) -> list[Answer]:
    """Fuse the pairs with every sentence and judge what it moves."""
    rows, embedding_NT = read_sentences()
    base = measure_response(model, crops, Setting())
    steps = measure_steps(model, crops, base)
    answers = []
    for number, ((direction, text), embedding_T) in enumerate(zip(rows, embedding_NT, strict=True)):
        if number % 25 == 0:
            sys.stderr.write(f"sentence {number} of {len(rows)}\n")
        moved = measure_response(model, crops, Setting(embedding_T))
        answers.append(judge_answer(direction, text, base, moved, steps))
    return answers


def read_sentences() -> tuple[list[tuple[str, str]], Tensor]:
    """Return (direction, text) of every sentence, and the embeddings (N, T)."""
    lines = SENTENCES.read_text(encoding="utf-8").splitlines()[1:]
    rows = [(direction, text) for direction, text in (line.split("\t") for line in lines)]
    with safe_open(EMBEDDED, framework="pt") as file:
        if (file.metadata() or {}).get("texts_sha256") != digest_texts([text for _, text in rows]):
            sys.exit(f"{EMBEDDED} is of other sentences; run `python -m benchmarks.results.steering LOCATION`")
        return rows, torch.nn.functional.normalize(file.get_tensor("embeddings").float(), dim=1)


def embed_sentences(location: str) -> None:
    """Embed the sentences with a local copy of the text encoder, and keep that."""
    texts = [line.split("\t")[1] for line in SENTENCES.read_text(encoding="utf-8").splitlines()[1:]]
    guidance = upfusion.load("tiny", "cpu", text_encoder=location).guidance
    embedding_NT = torch.stack([guidance.embed("ir_visible", text) for text in texts])
    save_file({"embeddings": embedding_NT.half().contiguous()}, EMBEDDED, {"texts_sha256": digest_texts(texts)})


if __name__ == "__main__":
    embed_sentences(sys.argv[1])
