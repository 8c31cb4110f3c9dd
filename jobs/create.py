"""Entry point of `upfusion create PRESET --out FILE`: a checkpoint to start training from."""

import sys

from rich.markup import escape

from jobs.command_line import job_command
from jobs.terminal import Terminal
from pipelines.checkpoints.config import CreateConfig


@job_command(CreateConfig, name="create", positional=("preset",))
def command(config: CreateConfig, verbose: bool) -> int:  # noqa: ARG001  # every job takes it
    """Create an untrained checkpoint with its pretrained priors, for machines that cannot reach a model hub."""
    from pipelines.checkpoints.create import create_untrained

    checkpoint = create_untrained(config)
    names = f"{len(checkpoint.prompts)} embedded prompts" if checkpoint.prompts else "no prompts"
    console = Terminal()
    console.print(f"Untrained {checkpoint.name} with {names}: it is for training and cannot fuse yet.")
    console.print(f"[bold]Checkpoint[/] {escape(config.out)}", soft_wrap=True, highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(command())
