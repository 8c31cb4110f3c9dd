"""Embeddings of prompts that people write themselves.

The built-in prompts need none of this: their embeddings travel inside the checkpoint.
"""

from pathlib import Path

import torch
from torch import Tensor


class TextEncoderUnavailableError(RuntimeError):
    """The text encoder that a checkpoint needs for a custom prompt cannot be loaded."""


def encode_prompt(prompt: str, encoder: str, location: str | None = None) -> Tensor:
    """Embed one text as a unit vector `(T,)` with a sentence-transformers encoder.

    `location` is a folder holding the encoder, for machines that reach no model hub.
    Raises TextEncoderUnavailableError, with the ways out, when the encoder cannot be loaded, and ValueError
    for an empty prompt.
    """
    if not prompt.strip():
        raise ValueError("the prompt is empty; leave it out to use the built-in prompt of the task")
    ways_out = (
        "Ways out: use the built-in prompt of the task (leave the prompt out); install the encoder's package "
        "with `pip install 'upfusion[prompts]'` and run once where the model hub can be reached, so that it "
        "lies in the cache (HF_HOME); or give a local copy with --text-encoder FOLDER."
    )
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise TextEncoderUnavailableError(
            f"the prompt needs the text encoder {encoder!r}, and the package sentence-transformers is not "
            f"installed. {ways_out}"
        ) from error
    if location is not None and not Path(location).is_dir():
        raise TextEncoderUnavailableError(f"no text encoder lies at {location}: it is no folder. {ways_out}")
    source = f"sentence-transformers/{encoder}" if location is None else location
    try:
        model = SentenceTransformer(source, device="cpu")
    except Exception as error:
        raise TextEncoderUnavailableError(
            f"the text encoder {encoder!r} could not be loaded from {source}. {ways_out}"
        ) from error
    embedding: Tensor = torch.as_tensor(model.encode(prompt, normalize_embeddings=True))
    return embedding.float()
