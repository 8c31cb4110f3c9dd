"""Checkpoints to start training from: pretrained priors, everything else at random."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from upfusion.checkpoint import EMBEDDED, Checkpoint, Prompt, Provenance, parse_checkpoint
from upfusion.network import UPFusion
from upfusion.presets import PARTS, PRESETS
from upfusion.priors import load_convnext
from upfusion.prompts import PROMPTS
from upfusion.scpm import SemanticChannelPruning
from upfusion.text import embed_bank
from upfusion.wishes import load_reader_weights


def create_checkpoint(
    preset: str,
    *,
    weights: str | Path | None = None,
    text_encoder: str | Path | None = None,
    pretrained: bool = True,
    without: Iterable[str] = (),
) -> Checkpoint:
    """Make an untrained checkpoint of a preset, with its ConvNeXt and its prompt bank.

    `weights` and `text_encoder` are local copies of the priors, for machines that reach no model hub;
    `pretrained=False` leaves both out: the network is random throughout and the bank is empty. `without` names PARTS
    to leave out, for an ablation. Random weights come from PyTorch's generator. Raises ValueError for an unknown
    preset or part or a wrong file, FileNotFoundError for one that is not there, and PriorUnavailableError, with the
    ways out, when a prior cannot be had.
    """
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}; known presets: {', '.join(PRESETS)}")
    without = tuple(without)
    if unknown := [part for part in without if part not in PARTS]:
        raise ValueError(f"unknown part {unknown[0]!r}; known parts: {', '.join(PARTS)}")
    switched_off: dict[str, Any] = dict.fromkeys(without, False)
    config = replace(PRESETS[preset], **switched_off)
    network = UPFusion(config)
    prompts: dict[str, Prompt] = {}
    if weights and not (pretrained and config.scpm and config.prior):
        raise ValueError(f"the preset {preset} starts from no pretrained ConvNeXt, so weights have no place in it")
    if pretrained and isinstance(network.scpm, SemanticChannelPruning) and config.prior:
        load_convnext(network.scpm.prior, config.prior, weights)
    if config.takes_balance and config.text_encoder and (reader := load_reader_weights(config.text_encoder)):
        network.reader.load_state_dict(reader)
    if pretrained and config.takes_text and config.text_encoder:
        shipped = None if text_encoder else _shipped_bank(config.text_encoder)
        prompts = shipped or embed_bank(PROMPTS, config.text_encoder, config.text_dim, text_encoder)
    note = "random weights, but for the priors" if pretrained else "random weights throughout"
    return Checkpoint(
        name="-without-".join([preset, *without]),
        config=config,
        weights=network.state_dict(),
        prompts=prompts,
        provenance=Provenance(trained=False, notes=(note,)),
    )


def _shipped_bank(text_encoder: str) -> dict[str, Prompt] | None:
    """Return the built-in prompts as a checkpoint of the package has them, for machines without the encoder."""
    for path in sorted(EMBEDDED.glob("*.safetensors")):
        shipped = parse_checkpoint(path.read_bytes(), str(path))
        texts = {name: prompt.text for name, prompt in shipped.prompts.items()}
        if shipped.config.text_encoder == text_encoder and texts == PROMPTS:
            return shipped.prompts
    return None
