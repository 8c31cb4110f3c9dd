"""Training of a network, one optimiser step after another: losses, Adam, schedule, averaged weights.

Everything that a step depends on besides its crops is in `Learner.state`, so a run that resumes from a state takes
the very steps that an uninterrupted one takes.

Shape suffixes: B batch, T text dimension, H height, W width.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from upfusion.losses import Crops, LossWeights, fusion_loss
from upfusion.network import UPFusion
from upfusion.wishes import WISHES


@dataclass(frozen=True)
class Batch:
    """Crops that pass through the network together, with the embedding that guides each."""

    a: Tensor
    """Luma of source A in [0, 1], (B, 1, H, W)."""
    b: Tensor
    text: Tensor
    """(B, T)."""
    wish: Tensor | None = None
    """What the result and the losses are to follow, (B, W), columns as in `upfusion.wishes.Wish`; None is nothing."""

    def __len__(self) -> int:
        return len(self.a)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained; the defaults are the paper's (arXiv 2511.12432, section "Experiments")."""

    steps: int
    """Optimiser steps of the whole run, which the schedule is laid over."""
    loss: LossWeights = field(default_factory=LossWeights)
    feature_share: float = 1.0
    """Share of a batch's crops that the loss of features is computed on."""
    learning_rate: float = 1e-4
    final_learning_rate: float = 1e-5
    """Where the cosine ends."""
    warm_up: int = 0
    """Steps over which the learning rate rises from zero."""
    beta2: float = 0.999
    """Decay of Adam's mean square of the gradient."""
    clip: float | None = None
    """Largest norm of the gradient; None leaves it."""
    ema: float | None = None
    """Decay of the averaged weights, which are then the ones that are kept; None keeps the last ones."""
    precision: Literal["fp32", "bf16"] = "fp32"

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step: a cosine, under a linear warm-up."""
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        rate = self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * cosine
        return rate * min(1.0, (step + 1) / self.warm_up) if self.warm_up else rate


class DivergedError(FloatingPointError):
    """A non-finite loss or gradient; the weights are those before the step."""


class Learner:
    """Trains a network in place.

    `replica` is what passes crops forward: the network itself, or DistributedDataParallel around it, whose
    gradients are the mean over all workers. `teacher` is a trained network, whose results `LossWeights.imitation`
    draws this one's towards.
    """

    def __init__(
        self,
        network: UPFusion,
        recipe: Recipe,
        replica: nn.Module | None = None,
        teacher: UPFusion | None = None,
    ) -> None:
        self.network = network.train()
        self.recipe = recipe
        self.replica = replica or network
        self.teacher = teacher and teacher.eval()
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        # Fused: a network of 200 small tensors takes 10 ms instead of 66 for its step on a CPU.
        self.optimizer = torch.optim.Adam(
            self.parameters, lr=recipe.learning_rate, betas=(0.9, recipe.beta2), fused=True
        )
        self.average = {name: tensor.clone() for name, tensor in network.state_dict().items()} if recipe.ema else None
        self.frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
        self.step = 0

    def learn(self, batches: Sequence[Batch], share: float | None = None) -> dict[str, Tensor]:
        """Take one optimiser step on all crops of `batches` and return each loss term's sum over them.

        `share` is the weight of one crop's gradient in this replica's; by default one over the number of crops.
        Raises DivergedError, and changes nothing, when the gradient is not finite.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate_at(self.step)
        self.optimizer.zero_grad()
        share = share or 1 / sum(map(len, batches))
        sums: dict[str, Tensor] = {}
        for position, batch in enumerate(batches):
            crops = len(batch)
            with self._exchange_gradients(last=position == len(batches) - 1):
                terms = self._losses(batch)
                (terms["loss"] * (crops * share)).backward()  # type: ignore[no-untyped-call]
            for name, term in terms.items():
                sums[name] = sums.get(name, torch.zeros_like(term)) + term.detach() * crops
        norm = nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip or math.inf)
        if not norm.isfinite():
            raise DivergedError(f"non-finite gradient in step {self.step + 1}")
        self.optimizer.step()
        self._follow()
        self.step += 1
        return sums

    def weights(self) -> dict[str, Tensor]:
        """Copy the weights that are worth keeping, the averaged ones where there are any, to the CPU."""
        kept = self.network.state_dict() if self.average is None else self.average
        return {name: tensor.detach().cpu().clone() for name, tensor in kept.items()}

    def state(self) -> dict[str, Tensor]:
        """Return everything that a step changes, by name, as `load_state` takes it.

        Frozen weights, such as those of a prior, are not in it: they are those of the network that training began with.
        """
        moments = self.optimizer.state_dict()["state"]
        kept = {"network": self.network.state_dict(), "average": self.average or {}}
        return {
            "step": torch.tensor(self.step),
            **{f"{of}.{name}": each[name] for of, each in kept.items() for name in each if name not in self.frozen},
            **{f"adam.{number}.{name}": value for number, of in moments.items() for name, value in of.items()},
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Resume where a state was taken, on whatever device it lies; it may hold frozen weights, too."""
        frozen = {name: tensor for name, tensor in self.network.state_dict().items() if name in self.frozen}
        self.network.load_state_dict(frozen | _below("network.", state))
        for name, tensor in (self.average or {}).items():
            tensor.copy_(state.get(f"average.{name}", tensor))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in _below("adam.", state).items():
            number, name = key.split(".")
            moments.setdefault(int(number), {})[name] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        self.step = int(state["step"])

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        wish_BW = batch.a.new_zeros(len(batch), WISHES) if batch.wish is None else batch.wish
        with torch.autocast(batch.a.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            fused_B1HW = self.replica(batch.a, batch.b, batch.text, None, wish_BW)
            taught_B1HW = self._teach(batch, wish_BW)
        crops = Crops(batch.a, batch.b, fused_B1HW.float(), wish_BW, taught_B1HW)
        return fusion_loss(crops, self.recipe.loss, self.recipe.feature_share)

    @torch.no_grad()
    def _teach(self, batch: Batch, wish_BW: Tensor) -> Tensor | None:
        if self.teacher is None:
            return None
        taught_B1HW: Tensor = self.teacher(batch.a, batch.b, batch.text, None, wish_BW)
        return taught_B1HW.float()

    def _exchange_gradients(self, *, last: bool) -> AbstractContextManager[None]:
        """Exchange gradients with the other workers once a step, after its last batch."""
        if last or not isinstance(self.replica, DistributedDataParallel):
            return nullcontext()
        kept: AbstractContextManager[None] = self.replica.no_sync()
        return kept

    def _follow(self) -> None:
        """Move the averaged weights towards the present ones, faster at the beginning."""
        if self.average is None:
            return
        assert self.recipe.ema is not None
        decay = min(self.recipe.ema, (2 + self.step) / (11 + self.step))
        with torch.no_grad():
            present = self.network.state_dict()
            torch._foreach_lerp_([self.average[name] for name in present], list(present.values()), 1 - decay)


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value.clone() for name, value in state.items() if name.startswith(prefix)}
