"""Converting the authors' published weights to a checkpoint."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from pipelines.checkpoints.config import ConvertConfig
from pipelines.checkpoints.read import local_copy, read_object, refuse_existing, write_model
from pipelines.cluster.git import git_commit
from pipelines.errors.exceptions import UsageError
from upfusion.checkpoint import Checkpoint, Prompt, Provenance
from upfusion.convert import convert
from upfusion.presets import NetworkConfig
from upfusion.priors import PriorUnavailableError
from upfusion.prompts import PROMPTS
from upfusion.text import embed_bank
from upfusion.weights_file import parse_weights


@dataclass(frozen=True)
class Converted:
    """The result of a conversion."""

    checkpoint: Checkpoint
    unused: tuple[str, ...]
    """The authors' names of the weights that were dropped."""
    without_prompts: str | None
    """Why the checkpoint has no prompt embeddings, or None."""


def convert_authors(config: ConvertConfig) -> Converted:
    """Convert the authors' weights to a checkpoint file; raises UsageError if they are not the authors'."""
    refuse_existing(config.out)
    try:
        conversion = convert(parse_weights(read_object(config.source, "SOURCE"), config.source))
    except ValueError as error:
        raise UsageError(f"SOURCE {config.source}: {error}") from error
    prompts, without_prompts = _embed(conversion.config, config)
    checkpoint = Checkpoint(
        name=PurePosixPath(config.out).stem,
        config=conversion.config,
        weights=conversion.weights,
        prompts=prompts,
        provenance=Provenance(
            data="LLVIP, according to the paper (arXiv 2511.12432); the file itself does not say",
            git_commit=git_commit(),
            licence="The weights are the authors'; their terms apply.",
            notes=(f"converted from {PurePosixPath(config.source).name}",),
        ),
    )
    write_model(checkpoint, config.out)
    return Converted(checkpoint, conversion.unused, without_prompts)


def _embed(network: NetworkConfig, config: ConvertConfig) -> tuple[dict[str, Prompt], str | None]:
    texts = PROMPTS if config.prompt is None else {"general": config.prompt}
    if network.text_encoder is None:
        reason = f"no text encoder with {network.text_dim} dimensions per text is known"
    else:
        with local_copy(config.text_encoder, "--text-encoder") as location:
            try:
                return embed_bank(texts, network.text_encoder, network.text_dim, location), None
            except ValueError as error:
                raise UsageError(str(error)) from error
            except PriorUnavailableError as error:
                reason = str(error)
    if config.prompt is not None:
        raise UsageError(f"--prompt cannot be encoded: {reason}")
    return {}, reason
