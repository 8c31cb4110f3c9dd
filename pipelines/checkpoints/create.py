"""Creating an untrained checkpoint, on a machine that can download the priors."""

from pipelines.checkpoints.config import CreateConfig
from pipelines.checkpoints.read import local_copy, refuse_existing, write_model
from pipelines.errors.exceptions import UsageError
from upfusion.checkpoint import Checkpoint
from upfusion.create import create_checkpoint
from upfusion.priors import PriorUnavailableError


def create_untrained(config: CreateConfig) -> Checkpoint:
    """Write an untrained checkpoint with its priors; raises UsageError if a prior is unavailable."""
    refuse_existing(config.out)
    with (
        local_copy(config.weights, "--weights") as weights,
        local_copy(config.text_encoder, "--text-encoder") as text_encoder,
    ):
        try:
            checkpoint = create_checkpoint(config.preset, weights=weights, text_encoder=text_encoder)
        except (PriorUnavailableError, FileNotFoundError, ValueError) as error:
            raise UsageError(str(error)) from error
    write_model(checkpoint, config.out)
    return checkpoint
