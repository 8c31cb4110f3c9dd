"""How the `tiny` checkpoint that ships with the package was trained: a plain loop on one CPU core.

The pairs lie in memory as luma; every step draws its batch from its own number alone, so a run that was
stopped and started again sees the same samples. Run it with `python -m jobs.train_tiny DATA... --out FILE`.

Shape suffixes: B batch, H height, W width, T text dimension.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from pipelines import storage
from pipelines.discover import discover
from pipelines.fuse_config import ArchiveConfig
from pipelines.request import RequestError
from pipelines.source_tree import git_commit
from upfusion.checkpoint import Checkpoint, Provenance
from upfusion.color import luma
from upfusion.images import decode_image
from upfusion.losses import LossWeights, fusion_loss
from upfusion.network import UPFusion
from upfusion.presets import PRESETS
from upfusion.prompts import PROMPTS
from upfusion.text import embed_bank

LARGE = 600_000  # pixels; larger pairs are also shown at half size, where a crop holds more than flat ground
# More weight on structure and less on intensity than in the paper: with 1, 1 and 0 the network stayed at the
# element-wise maximum that `residual` gives it; with these it left it after 300 steps.
WEIGHTS = LossWeights(intensity=0.5, gradient=1.0, structure=1.0)
WARM_UP = 200  # steps
LAST_RATE = 0.02  # of the learning rate, at the end of the cosine
EMA_DECAY = 0.998
REPORT_EVERY = 100  # steps
SAVE_EVERY = 400  # steps


class TrainTinyConfig(BaseModel):
    """What the plain training loop is told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: tuple[str, ...] = Field(
        description="Folders of infrared-visible pairs, or manifests; FOLDER=2 draws its pairs twice as often."
    )
    out: str = Field(description="Checkpoint file to write; the state to go on from lies beside it as OUT.state.")
    split: str = Field("train", description="Take only pairs with this folder in their path.")
    steps: int = Field(4400, ge=1, description="Optimiser steps.")
    batch: int = Field(6, ge=1, description="Crops a step.")
    crop: int = Field(80, ge=16, description="Side of a crop in pixels.")
    learning_rate: float = Field(1e-3, gt=0, description="Adam's learning rate, falling along a cosine.")
    seed: int = Field(0, description="Seed of weights and samples.")
    text_encoder: str | None = Field(None, description="Folder of the text encoder, where no hub can be reached.")


@dataclass(frozen=True)
class Sample:
    """A pair in memory: luma in [0, 1] as float16, and how often it is drawn."""

    a: NDArray[np.float16]
    b: NDArray[np.float16]
    weight: float


def train_tiny(config: TrainTinyConfig, say: Callable[[str], None]) -> Checkpoint:
    """Train preset `tiny`, writing its checkpoint to `config.out`; a run that was stopped goes on.

    Raises RequestError when there is nothing to train on.
    """
    samples = list(_load_samples(config))
    if not samples:
        raise RequestError(f"no pairs with a folder {config.split!r} in their path; see --split")
    say(f"{len(samples)} images of pairs in memory")
    tiny = PRESETS["tiny"]
    assert tiny.text_encoder is not None
    bank = embed_bank(PROMPTS, tiny.text_encoder, tiny.text_dim, config.text_encoder)
    prompts = {name: prompt.embedding for name, prompt in bank.items()}
    torch.manual_seed(config.seed)
    network = UPFusion(tiny)
    with torch.no_grad():
        # Starting near the residual keeps the features alive; from the default start the network first
        # unlearns its random output, and its features with it.
        network.decoder.output.weight.mul_(0.1)
    average = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=0.0)
    state = Path(config.out + ".state")
    first = _resume(state, network, optimizer, average)
    began, losses = time.monotonic(), []
    for step in range(first, config.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        a_B1HW, b_B1HW, text_BT = draw_batch(samples, prompts, config, step)
        terms = fusion_loss(a_B1HW, b_B1HW, network(a_B1HW, b_B1HW, text_BT), WEIGHTS)
        optimizer.zero_grad()
        terms["loss"].backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        _follow(average, network, step)
        losses.append(terms["loss"].item())
        if (step + 1) % REPORT_EVERY == 0:
            left = (time.monotonic() - began) / (step + 1 - first) * (config.steps - step - 1)
            say(f"step {step + 1} / {config.steps}, loss {np.mean(losses[-REPORT_EVERY:]):.4f}, {left:.0f} s left")
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == config.steps:
            torch.save(_state_of(network, optimizer, average, step + 1), state.with_suffix(".part"))
            state.with_suffix(".part").replace(state)
    checkpoint = Checkpoint(
        name="tiny",
        config=tiny,
        weights=average,
        prompts=bank,
        provenance=_provenance(config, len(samples)),
    )
    storage.write_bytes(config.out, checkpoint.to_bytes())
    return checkpoint


def learning_rate(step: int, config: TrainTinyConfig) -> float:
    """Return the learning rate of a step: a linear warm-up, then a cosine."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / config.steps))
    return config.learning_rate * min(1, (step + 1) / WARM_UP) * (cosine * (1 - LAST_RATE) + LAST_RATE)


def draw_batch(
    samples: list[Sample], prompts: dict[str, Tensor], config: TrainTinyConfig, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw crops and prompts that depend on the seed and the step alone.

    Half of the prompts are the right one, half any of the bank, so that TCPM meets many orders of channels.
    """
    rng = np.random.default_rng([config.seed, step])
    weights = np.array([sample.weight for sample in samples])
    chosen = rng.choice(len(samples), size=config.batch, p=weights / weights.sum())
    crops = [_crop(samples[index], config.crop, rng) for index in chosen]
    a_BHW, b_BHW = (np.stack(side).astype(np.float32) for side in zip(*crops, strict=True))
    names = list(prompts)
    texts = ["ir_visible" if rng.random() < 0.5 else names[rng.integers(len(names))] for _ in crops]
    text_BT = torch.stack([prompts[name] for name in texts])
    return torch.from_numpy(a_BHW)[:, None], torch.from_numpy(b_BHW)[:, None], text_BT


def _crop(sample: Sample, side: int, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
    height, width = sample.a.shape
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    flip = (slice(None, None, rng.choice([-1, 1])), slice(None, None, rng.choice([-1, 1])))
    window = (slice(top, top + side), slice(left, left + side))
    return sample.a[window][flip], sample.b[window][flip]


def _load_samples(config: TrainTinyConfig) -> Iterator[Sample]:
    for source in config.data:
        folder, _, weight_text = source.partition("=")
        weight = float(weight_text or 1)
        pairs = discover(ArchiveConfig(source=folder)).pairs.to_pylist()
        for pair in pairs:
            if config.split not in pair["pair_id"].split("/"):
                continue
            a, b = (luma(decode_image(storage.read_bytes(pair[side])).pixels) for side in ("a_uri", "b_uri"))
            if min(a.shape) < config.crop or a.shape != b.shape:
                continue
            large = a.size > LARGE
            yield Sample(a.astype(np.float16), b.astype(np.float16), weight * (0.3 if large else 1.0))
            if large:
                yield Sample(_half(a), _half(b), weight * 0.7)


def _half(luma_HW: NDArray[np.float32]) -> NDArray[np.float16]:
    height, width = (side // 2 * 2 for side in luma_HW.shape)
    halved = luma_HW[:height, :width].reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
    return halved.astype(np.float16)


def _follow(average: dict[str, Tensor], network: UPFusion, step: int) -> None:
    """Move the averaged weights towards the present ones, faster at the beginning."""
    decay = min(EMA_DECAY, (2 + step) / (11 + step))
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            average[name].lerp_(tensor, 1 - decay)


def _state_of(
    network: UPFusion, optimizer: torch.optim.Optimizer, average: dict[str, Tensor], step: int
) -> dict[str, Any]:
    return {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average,
        "step": step,
    }


def _resume(state: Path, network: UPFusion, optimizer: torch.optim.Optimizer, average: dict[str, Tensor]) -> int:
    if not state.exists():
        return 0
    saved = torch.load(state, weights_only=True)
    network.load_state_dict(saved["network"])
    optimizer.load_state_dict(saved["optimizer"])
    average.update(saved["average"])
    return int(saved["step"])


def _provenance(config: TrainTinyConfig, samples: int) -> Provenance:
    settings = config.model_dump(exclude={"out", "text_encoder", "data"})
    loss = f"{WEIGHTS.intensity:g} intensity + {WEIGHTS.gradient:g} gradient + {WEIGHTS.structure:g} structure"
    return Provenance(
        data="infrared-visible pairs only: " + ", ".join(Path(source).name for source in config.data),
        epochs=round(config.steps * config.batch / samples, 1),
        git_commit=git_commit(),
        licence="The training images keep their owners' terms.",
        training={**settings, "images": samples, "loss": loss},
        notes=("the semantic prior is a small ConvNeXt trained together with the rest, not a pretrained one",),
    )
