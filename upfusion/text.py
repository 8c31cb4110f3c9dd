"""Text encoders: CLIP by open_clip, and all-MiniLM-L6-v2 by sentence-transformers.

The built-in prompts need none of this where their embeddings travel in the checkpoint.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from upfusion.checkpoint import Prompt
from upfusion.priors import PriorUnavailableError, model_hub, not_found

TextEncoder = Callable[[Sequence[str]], Tensor]
"""Embeds N texts as `(N, T)`, float32. Raises ValueError for a text longer than it can read."""


BUILT_IN = "use a built-in prompt with a checkpoint that carries its embedding, as the preset tiny does"


def load_text_encoder(name: str, text_dim: int, location: str | Path | None = None) -> TextEncoder:
    """Load a text encoder onto the CPU.

    `name` is `MODEL/TAG` of open_clip, whose embeddings are left at the length CLIP gives them as the authors of
    UP-Fusion do, or the name of a sentence-transformers model, whose embeddings have length 1. `location` is a
    local copy for machines that reach no model hub: a folder, or for open_clip also a file of weights.
    Raises PriorUnavailableError, with the ways out, when the encoder cannot be had, FileNotFoundError when nothing
    lies at `location`, and ValueError when it holds something else or the encoder does not give `text_dim` numbers.
    """
    if location is not None and not Path(location).exists():
        raise FileNotFoundError(f"no text encoder lies at {location}")
    local = None if location is None else Path(location).absolute()
    encode = _load_clip(name, local) if "/" in name else _load_sentence_transformer(name, local)
    given = encode(["Does it fit?"]).shape[1]
    if given != text_dim:
        raise ValueError(f"the text encoder {location or name} gives {given} numbers per text, expected {text_dim}")
    return encode


def embed_bank(
    texts: Mapping[str, str], encoder: str, text_dim: int, location: str | Path | None = None
) -> dict[str, Prompt]:
    """Embed texts by name into a prompt bank; raises as `load_text_encoder` does."""
    embeddings_NT = load_text_encoder(encoder, text_dim, location)(list(texts.values()))
    embedded = zip(texts.items(), embeddings_NT, strict=True)
    return {name: Prompt(text, embedding_T.clone()) for (name, text), embedding_T in embedded}


def _load_clip(name: str, location: Path | None) -> TextEncoder:
    import open_clip  # here, because it takes seconds and hardly anybody needs it

    model, tag = name.split("/", 1)
    in_folder = location is not None and location.is_dir()
    source = f"local-dir:{location}" if in_folder else model
    try:
        with model_hub():
            clip = open_clip.create_model(
                source,
                pretrained=None if in_folder else str(location or tag),
                require_pretrained=True,  # a folder without weights would give random ones
                weights_only=True,
            )
            tokenize = open_clip.get_tokenizer(source)
    except Exception as error:
        if location is not None:
            # PyTorch's own words are how to have a pickle executed after all.
            reason = "its weights are not plain tensors" if "weights_only" in str(error) else error
            raise ValueError(f"{location} does not hold the text encoder {name}: {reason}") from error
        raise _not_found(name, error) from error

    @torch.no_grad()
    def encode(texts: Sequence[str]) -> Tensor:
        for text in texts:
            # With the marks of beginning and end; open_clip itself cuts off the rest without a word.
            _check_length(text, len(tokenize.encode(text)) + 2, tokenize.context_length)
        embeddings_NT: Tensor = clip.eval().encode_text(tokenize(list(texts)))
        return embeddings_NT.float()

    return encode


def _load_sentence_transformer(name: str, location: Path | None) -> TextEncoder:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise PriorUnavailableError(
            f"the text encoder {name} needs the package sentence-transformers: install it with "
            f"`pip install 'upfusion[prompts]'`, or {BUILT_IN}"
        ) from error
    try:
        with model_hub():
            model = SentenceTransformer(
                str(location or f"sentence-transformers/{name}"), device="cpu", trust_remote_code=False
            )
    except Exception as error:
        if location is not None:
            raise ValueError(f"{location} does not hold the text encoder {name}: {error}") from error
        raise _not_found(name, error) from error

    def encode(texts: Sequence[str]) -> Tensor:
        for text in texts:
            _check_length(text, len(model.tokenizer(text, verbose=False)["input_ids"]), model.max_seq_length)
        return torch.as_tensor(model.encode(list(texts), normalize_embeddings=True)).float().clone()

    return encode


def _not_found(encoder: str, error: Exception) -> PriorUnavailableError:
    return not_found(f"text encoder {encoder}", error, option="--text-encoder FILE_OR_FOLDER", otherwise=BUILT_IN)


def _check_length(text: str, tokens: int, most: int) -> None:
    if tokens > most:
        raise ValueError(f"the prompt {text[:40]!r}... has {tokens} tokens; its text encoder reads {most}")
