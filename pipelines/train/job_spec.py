"""The specification that all workers of a training run get, with its schedule."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.errors.failures import Row
from pipelines.sources.preparation import Preparation
from pipelines.train.config import TrainConfig
from upfusion.checkpoint import Provenance


@dataclass(frozen=True)
class TrainJob:
    """The input of the workers, the same for all."""

    config: TrainConfig
    """Without the tracking server, whose address may hold a password."""
    steps: int
    start: str
    """URI of the checkpoint that the run starts from."""
    teacher: str | None
    """URI of the checkpoint that the network imitates."""
    model: str
    """URI of the best model, or without validation the last."""
    log: str
    """URI of the log of all reports up to the last checkpoint."""
    train_pairs: Sequence[Row]
    val_pairs: Sequence[Row]
    texts: dict[tuple[str, str | None], list[float]]
    """Embeddings by task and prompt of the pair."""
    preparation: Preparation
    """How the files of a pair become A and B."""
    provenance: Provenance
    """Provenance of the models, without the fields that depend on the step."""
    threads: int

    @property
    def crops_an_epoch(self) -> int:
        """One crop per pair."""
        return len(self.train_pairs)

    def epoch(self, step: int) -> float:
        """Return the number of epochs after a number of steps."""
        return step * self.config.batch / self.crops_an_epoch

    def validates_at(self, step: int) -> bool:
        """Tell whether the weights after a step are validated."""
        if not self.val_pairs:
            return False
        every = self.config.validate_every
        return step == self.steps or int(self.epoch(step) / every) > int(self.epoch(step - 1) / every)

    def checkpoints_at(self, step: int) -> bool:
        """Tell whether the state after a step is kept."""
        return step % self.config.checkpoint_every == 0 or step == self.steps or self.validates_at(step)

    def logs_at(self, step: int) -> bool:
        """Tell whether the losses up to a step are summed up."""
        return step % self.config.log_every == 0 or self.checkpoints_at(step)
