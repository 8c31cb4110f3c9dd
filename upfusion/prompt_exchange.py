"""Other prompts in the place of a model's own, to measure how much the text does."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import torch

from upfusion.checkpoint import Checkpoint, Prompt
from upfusion.prompts import TASKS

EXCHANGES: Mapping[str, str] = MappingProxyType(
    {
        "right": "each task its own prompt",
        "general": "the general prompt for every task",
        "wrong": "the prompt of another kind of sensor",
        "noise": "Gaussian noise of the same norm",
    }
)
"""What can take the place of a task's prompt."""

MEDICAL = frozenset({"ct_mri", "pet_mri", "spect_mri"})


def exchange_prompts(checkpoint: Checkpoint, exchange: str, seed: int = 0) -> Checkpoint:
    """Return a model with the same weights that is guided by something else than its tasks' prompts.

    Raises ValueError for an unknown exchange, and for a model that takes no text or carries no prompts.
    """
    if exchange not in EXCHANGES:
        raise ValueError(f"unknown exchange {exchange!r}; known ones: {', '.join(EXCHANGES)}")
    if not checkpoint.config.takes_text or not TASKS.keys() <= checkpoint.prompts.keys():
        raise ValueError(f"the model {checkpoint.name} has no prompts of tasks that could be exchanged")
    if exchange == "right":
        return checkpoint
    bank = checkpoint.prompts
    generator = torch.Generator().manual_seed(seed)
    exchanged: dict[str, Prompt] = {}
    for task in TASKS:
        if exchange == "noise":
            exchanged[task] = _noise(task, bank[task], generator)
        else:
            prompt = bank["general" if exchange == "general" else _unlike(task)]
            # A file of tensors cannot hold one of them twice.
            exchanged[task] = replace(prompt, embedding=prompt.embedding.clone())
    return replace(checkpoint, name=f"{checkpoint.name}-{exchange}-prompts", prompts={**bank, **exchanged})


def _unlike(task: str) -> str:
    return "ir_visible" if task in MEDICAL else "pet_mri"


def _noise(task: str, prompt: Prompt, generator: torch.Generator) -> Prompt:
    noise_T = torch.randn(prompt.embedding.shape, generator=generator)
    return Prompt(f"noise instead of {task}", noise_T * (prompt.embedding.norm() / noise_T.norm()))
