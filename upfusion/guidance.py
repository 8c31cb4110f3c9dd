"""What guides TCPM: the embedding of a task's prompt, of a named one, or of a user's text; and a balance."""

from pathlib import Path

import torch
from torch import Tensor

from upfusion.checkpoint import Checkpoint
from upfusion.prompts import PROMPTS, TASKS
from upfusion.text import TextEncoder, load_text_encoder
from upfusion.text_parts import parts_naming_one_source
from upfusion.wishes import TextReader

SAME_ENCODER = 1e-3
"""Largest relative difference between two embeddings of one text by one encoder, on any device or version."""

CLEAR_WISH = 0.3
"""A text that is read to wish for this much beside a balance is read as a whole."""


def check_balance(balance: float, checkpoint: Checkpoint) -> None:
    """Raise ValueError for a balance outside [-1, 1], or one that a network without a dial cannot follow."""
    if not -1 <= balance <= 1:
        raise ValueError(f"balance: expected a number from -1 (A) through 0 (both) to 1 (B), got {balance:g}")
    if balance and not checkpoint.config.takes_balance:
        raise ValueError(f"the model {checkpoint.name} takes no balance, so {balance:g} has no meaning; 0 keeps both")


class Guidance:
    """Finds embeddings in the prompt bank of a checkpoint, and has other texts encoded, with one encoder.

    `location` is a local copy of the text encoder, for machines that reach no model hub. The encoder is loaded
    when the first text needs it, and must give what the bank holds: embeddings of two encoders never meet.

    A text that names both sources ("less visible, more thermal") is guided by its part that says most about one of
    them, where the network reads wishes: of two sources an embedding hardly says which one is to be stronger.
    """

    def __init__(self, checkpoint: Checkpoint, location: str | Path | None = None) -> None:
        self.checkpoint = checkpoint
        self.location = location
        self.known: dict[str, Tensor] = {prompt.text: prompt.embedding for prompt in checkpoint.prompts.values()}
        self._encoder: TextEncoder | None = None

    def embed(self, task: str, prompt: str | None = None) -> Tensor:
        """Return the embedding `(T,)` of the prompt of a task, or of a prompt: a name of the bank or a text.

        Raises ValueError for an unknown task, an empty prompt, a prompt that nothing here could encode or for a
        network that takes none, and PriorUnavailableError when the encoder cannot be had.
        """
        if task not in TASKS:
            raise ValueError(f"unknown task {task!r}; known tasks: {', '.join(TASKS)}")
        if prompt is not None and not prompt.strip():
            raise ValueError("the prompt is empty; leave it out to use the built-in prompt of the task")
        if not self.checkpoint.config.takes_text:
            if prompt is not None:
                raise ValueError(f"the model {self.checkpoint.name} takes no text, so a prompt has no meaning")
            return torch.zeros(self.checkpoint.config.text_dim)
        text = self._text(task if prompt is None else prompt)
        if text not in self.known:
            self._encoder = self._encoder or self._load()
            self.known[text] = self._encode(text, self._encoder)
        return self.known[text]

    def _text(self, prompt: str) -> str:
        bank = self.checkpoint.prompts
        if prompt in bank:
            return bank[prompt].text
        if prompt in PROMPTS:
            # Weights that were trained with one text know that one.
            return bank["general"].text if "general" in bank else PROMPTS[prompt]
        return prompt

    def _encode(self, text: str, encoder: TextEncoder) -> Tensor:
        whole_T = encoder([text])[0]
        parts = parts_naming_one_source(text)
        if parts == [text] or not self.checkpoint.config.takes_balance:
            return whole_T
        reader = self._reader()
        if (reader(whole_T[None])[0, 1:] > CLEAR_WISH).any():
            return whole_T
        parts_NT = encoder(parts)
        return parts_NT[reader(parts_NT)[:, 0].abs().argmax()]

    def _reader(self) -> TextReader:
        reader = TextReader(self.checkpoint.config.text_dim).requires_grad_(False).eval()
        prefix = "reader."
        weights = {
            name.removeprefix(prefix): w for name, w in self.checkpoint.weights.items() if name.startswith(prefix)
        }
        reader.load_state_dict(weights)
        return reader

    def _load(self) -> TextEncoder:
        name, bank = self.checkpoint.config.text_encoder, self.checkpoint.prompts
        if name is None:
            raise ValueError(
                f"the text encoder of the model {self.checkpoint.name} is unknown, so no prompt can be encoded for it"
            )
        encoder = load_text_encoder(name, self.checkpoint.config.text_dim, self.location)
        for prompt in list(bank.values())[:1]:
            embedding_T = encoder([prompt.text])[0]
            if not _are_equal(embedding_T, prompt.embedding):
                raise ValueError(
                    f"the text encoder {self.location or name} is not the one this model was made with ({name}): it "
                    f"embeds {prompt.text[:40]!r}... differently. Embeddings of two encoders are not mixed."
                )
        return encoder


def _are_equal(one_T: Tensor, other_T: Tensor) -> bool:
    return bool((one_T - other_T).norm() <= SAME_ENCODER * other_T.norm())
