"""What a training run begins with: the checkpoint whose weights it trains, and the teacher that it imitates."""

import torch

from pipelines.checkpoints.read import local_copy, read_model
from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage
from pipelines.train.config import TrainConfig
from pipelines.train.folder import RunFolder
from upfusion.checkpoint import Checkpoint, parse_checkpoint
from upfusion.create import create_checkpoint
from upfusion.priors import PriorUnavailableError


def make_start(config: TrainConfig) -> Checkpoint:
    """Return the initial checkpoint: a given one, or a preset with random weights and its priors."""
    if config.start:
        return read_model(config.start, config.tracking_uri)[0]
    with (
        local_copy(config.weights, "--weights") as weights,
        local_copy(config.text_encoder, "--text-encoder") as text_encoder,
        torch.random.fork_rng(devices=[]),
    ):
        torch.manual_seed(config.seed)
        try:
            return create_checkpoint(config.preset, weights=weights, text_encoder=text_encoder, without=config.without)
        except (PriorUnavailableError, FileNotFoundError, ValueError) as error:
            raise UsageError(str(error)) from error


def find_teacher(config: TrainConfig, folder: RunFolder, start: Checkpoint) -> Checkpoint | None:
    """Return the model to imitate: of a resumed run the one that it began with."""
    if not config.teacher:
        return None
    there = storage.exists(folder.teacher)
    teacher = read_checkpoint(folder.teacher) if there else read_model(config.teacher, config.tracking_uri)[0]
    if not teacher.provenance.trained:
        raise UsageError(f"--teacher {config.teacher} is untrained: it has nothing to teach")
    if teacher.config.text_encoder != start.config.text_encoder:
        raise UsageError(
            f"--teacher {config.teacher} reads texts with {teacher.config.text_encoder}, the network to train with "
            f"{start.config.text_encoder}; both must have the same text encoder"
        )
    return teacher


def read_checkpoint(uri: str) -> Checkpoint:
    """Read a checkpoint of ours; raises OSError and ValueError."""
    return parse_checkpoint(storage.read_bytes(uri), uri)
