"""Measure how balance and texts steer a model, and write the section of docs/results.md about it.

    python benchmarks/steering.py [MODEL]                  about five minutes on one core
    python benchmarks/steering.py --embed LOCATION         embed benchmarks/paraphrases.tsv again

MODEL is `tiny` by default, or any checkpoint with its text encoder. The pairs lie beside a checkout on development
machines (`../shared`). Sentences come embedded, in `paraphrases.safetensors`, so no text encoder is loaded.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from results import INFRARED, MEDICAL, PAGE, PICTURES, ROOT, UNSEEN, sets_of
from safetensors import safe_open
from safetensors.torch import save_file
from steering_pictures import draw_dial, draw_response
from steering_tables import (
    HEADING,
    answers_table,
    cost_table,
    flicker_table,
    general_table,
    response_details,
    response_table,
)
from torch import Tensor

import upfusion
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


def main() -> None:
    """Measure, draw and write."""
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--embed"]:
        embed_sentences(sys.argv[2])
        return
    write_into_page(sys.argv[1] if len(sys.argv) > 1 else "tiny")
    sys.stdout.write(f"wrote {PAGE}\n")


def write_into_page(model: str) -> None:
    """Measure a model and put the section into the page that is there."""
    PICTURES.mkdir(exist_ok=True)
    section = write_section(upfusion.load(model, "cpu"))
    PAGE.write_text(put_section(PAGE.read_text(encoding="utf-8"), section), encoding="utf-8")


def write_section(model: FusionModel) -> str:
    """Measure a model on all test pairs and return the section of the page; writes its pictures."""
    tasks = dict.fromkeys(INFRARED, "ir_visible") | MEDICAL | UNSEEN
    crops = load_crops(find_sets(sets_of(tasks), None), SIDE)
    at_balance = {
        balance: report(f"balance {balance:g}", model, crops, Setting(balance=balance)) for balance in BALANCES
    }
    of_phrase = {text: report(text, model, crops, Setting(embed(model, text))) for text in PHRASES}
    general = report("general", model, crops, Setting(model.guidance.embed("ir_visible", "general")))
    answers = judge_sentences(model, choose_pairs(crops))
    draw_response(crops, at_balance, PICTURES / "steering.png")
    draw_dial(model, ROOT / "docs" / "dial.jpg")
    sections = [
        HEADING.format(name=model.checkpoint.name, side=SIDE, pairs=len(crops)),
        response_table(crops, at_balance),
        "![Response to the balance](results/steering.png)",
        response_details(crops, at_balance, of_phrase),
        answers_table(answers),
        general_table(crops, at_balance[0.0], general),
        cost_table(model),
        flicker_table(model),
    ]
    return "\n\n".join(part.strip() for part in sections)


def put_section(page: str, section: str) -> str:
    """Replace the section of a page that has the same heading, or put it before `## Beside the published figures`."""
    title = section.splitlines()[0]
    without = re.sub(rf"^{re.escape(title)}$.*?(?=^## |\Z)", "", page, flags=re.MULTILINE | re.DOTALL)
    before, heading, after = without.partition("## Beside the published figures")
    return f"{before.rstrip()}\n\n{section}\n\n{heading}{after}" if heading else f"{before.rstrip()}\n\n{section}\n"


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
            sys.exit(f"{EMBEDDED} is of other sentences; run this with --embed LOCATION of the text encoder")
        return rows, torch.nn.functional.normalize(file.get_tensor("embeddings").float(), dim=1)


def embed_sentences(location: str) -> None:
    """Embed the sentences with a local copy of the text encoder, and keep that."""
    texts = [line.split("\t")[1] for line in SENTENCES.read_text(encoding="utf-8").splitlines()[1:]]
    guidance = upfusion.load("tiny", "cpu", text_encoder=location).guidance
    embedding_NT = torch.stack([guidance.embed("ir_visible", text) for text in texts])
    save_file({"embeddings": embedding_NT.half().contiguous()}, EMBEDDED, {"texts_sha256": digest_texts(texts)})


if __name__ == "__main__":
    main()
