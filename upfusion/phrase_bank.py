"""The phrases with their embeddings, as files of the package: training with them needs no text encoder.

To make the file of an encoder from its local copy: `python -m upfusion.phrase_bank LOCATION [ENCODER TEXT_DIM]`.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from upfusion.phrases import PHRASES
from upfusion.text import load_text_encoder

BANKS = Path(__file__).parent / "phrase_banks"
"""Where the banks lie, as `ENCODER.safetensors`; not among the checkpoints, which are listed as models."""


@dataclass(frozen=True)
class PhraseBank:
    """N phrases, what they ask for, and their embeddings by one text encoder."""

    texts: tuple[str, ...]
    wishes: Tensor
    """`(N, 4)`, float32: balance in -1..1, then hot, dark and quiet in 0..1."""
    embeddings: Tensor
    """`(N, T)`, float32, each of length 1."""


def load_phrase_bank(encoder: str) -> PhraseBank | None:
    """Return the phrases as `encoder` embeds them, or None when the package has no bank of that encoder.

    Raises ValueError when the bank was made of other texts than PHRASES now holds.
    """
    path = _path(encoder)
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        embeddings_NT = file.get_tensor("embeddings")
    texts = tuple(PHRASES)
    expected = {"encoder": encoder, "texts_sha256": digest_texts(texts)}
    for name, value in expected.items():
        if metadata.get(name) != value:
            raise ValueError(
                f"{path}: {name} is {metadata.get(name)}, expected {value}; "
                "make the phrase bank again with `python -m upfusion.phrase_bank LOCATION`"
            )
    wishes_N4 = torch.tensor(list(PHRASES.values()), dtype=torch.float32)
    return PhraseBank(texts, wishes_N4, F.normalize(embeddings_NT.float(), dim=-1))


def make_phrase_bank(encoder: str, text_dim: int, location: str | Path | None = None) -> Path:
    """Embed PHRASES and write the bank as float16; returns its path. Raises as `load_text_encoder` does."""
    texts = tuple(PHRASES)
    embeddings_NT = load_text_encoder(encoder, text_dim, location)(texts).half().contiguous()
    path = _path(encoder)
    path.parent.mkdir(exist_ok=True)
    metadata = {"encoder": encoder, "texts_sha256": digest_texts(texts)}
    path.write_bytes(save({"embeddings": embeddings_NT}, metadata))
    return path


def digest_texts(texts: Sequence[str]) -> str:
    """SHA-256 of texts in their order."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()


def _path(encoder: str) -> Path:
    return BANKS / f"{encoder.replace('/', '-')}.safetensors"


if __name__ == "__main__":
    if len(sys.argv) not in (2, 4):
        sys.exit(__doc__)
    location, *rest = sys.argv[1:]
    encoder, text_dim = rest or ("all-MiniLM-L6-v2", "384")
    sys.stdout.write(f"{make_phrase_bank(encoder, int(text_dim), location)}\n")
