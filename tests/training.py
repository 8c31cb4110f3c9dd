"""A training run in miniature: a network of a few thousand weights on pairs of 64x48 pixels."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pipelines.train.callback import Report
from pipelines.train.config import TrainConfig
from pipelines.train.job import Listener, TrainOutcome, plan_train, train
from tests.upfusion.small_priors import NETWORK, TEXT_DIM
from upfusion.checkpoint import Checkpoint, Prompt, Provenance
from upfusion.network import UPFusion
from upfusion.presets import NetworkConfig
from upfusion.prompts import PROMPTS

CONFIG = replace(NETWORK, prior=None, prior_trained=True, residual=True, skip_unperturbed=True)

SETTINGS: dict[str, Any] = {
    "epochs": 4.0,
    "batch": 4,
    "crop": 48,
    "structure": 0.5,
    "random_prompts": 0.5,
    "ema": 0.9,
    "clip": 1.0,
    # Small enough for the selections of channels to stay: where one flips, sums in another order show.
    "learning_rate": 2e-4,
    "warm_up": 2,
    "val_share": 0.2,
    "validate_every": 2.0,
    "checkpoint_every": 4,
    "log_every": 1,
    "loaders": 2,
    "gpus_per_worker": 0,
}


def make_start(path: Path, config: NetworkConfig = CONFIG) -> Path:
    """Write an untrained miniature network."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UPFusion(config)
        bank = {name: Prompt(text, torch.randn(TEXT_DIM)) for name, text in PROMPTS.items()}
    provenance = Provenance(trained=False, notes=("random weights",))
    made = Checkpoint(name="mini", config=config, weights=network.state_dict(), prompts=bank, provenance=provenance)
    path.write_bytes(made.to_bytes())
    return path


class Heard(Listener):
    """Keeps all that a run tells."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def on_report(self, report: Report) -> None:
        self.reports.append(report)

    @property
    def losses(self) -> dict[int, float]:
        """The loss of each step; one that was taken twice is told twice, and the later counts."""
        return {report["step"]: report["loss"] for report in self.reports if "loss" in report}


def train_mini(data: object, out: object, listener: Listener | None = None, **settings: Any) -> TrainOutcome:
    """Train the miniature network with SETTINGS, but for those that are given."""
    settings = SETTINGS | {"no_tracking": "tracking_uri" not in settings} | settings
    return train(plan_train(TrainConfig(data=(str(data),), out=str(out), **settings)), listener)
