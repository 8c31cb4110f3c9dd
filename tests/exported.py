"""A small network of the kind of `tiny`, and its ONNX file, which takes fifteen seconds to make: once a process."""

import functools
from dataclasses import replace

import torch

from upfusion.checkpoint import Checkpoint, Prompt, Provenance
from upfusion.network import UPFusion
from upfusion.onnx_export import export_onnx
from upfusion.presets import PRESETS

SMALL = replace(
    PRESETS["tiny"],
    channels=8,
    widths=(8, 8),
    blocks=(1, 1),
    heads=(1, 2),
    text_dim=6,
    prior_size=32,
    prior_depths=(1, 1, 1, 1),
    prior_widths=(4, 4, 4, 4),
)


@functools.cache
def small_checkpoint() -> Checkpoint:
    """Return a network with random weights that counts as trained."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = UPFusion(SMALL).state_dict()
    prompts = {name: Prompt(name, torch.randn(6, generator=generator)) for name in ("general", "ir_visible")}
    return Checkpoint(name="small", config=SMALL, weights=weights, prompts=prompts, provenance=Provenance())


@functools.cache
def small_onnx() -> bytes:
    """Return its file for any size, with text and balance as inputs."""
    return export_onnx(small_checkpoint())
