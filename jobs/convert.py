"""Entry point of `upfusion convert AUTHORS.pth --out FILE`: the authors' published weights as a checkpoint."""

import sys

from rich.markup import escape

from jobs.command_line import job_command
from jobs.terminal import Terminal
from pipelines.checkpoints.config import ConvertConfig

NAMES_SHOWN = 3


@job_command(ConvertConfig, name="convert", positional=("source",))
def command(config: ConvertConfig, verbose: bool) -> int:  # noqa: ARG001  # every job takes it
    """Convert the authors' published weights to a checkpoint file for `--model`.

    Nothing in their file is executed. Weights that do not belong to their network are listed and refused.
    """
    from jobs.model_card import architecture, print_lines
    from pipelines.checkpoints.convert import convert_authors

    converted = convert_authors(config)
    console = Terminal()
    print_lines(console, architecture(converted.checkpoint.config))
    if converted.unused:
        shown = ", ".join(converted.unused[:NAMES_SHOWN])
        more = len(converted.unused) - NAMES_SHOWN
        rest = f" and {more} more" if more > 0 else ""
        console.print(f"{len(converted.unused)} unused weights were dropped: {shown}{rest}", markup=False)
    if converted.without_prompts:
        reason = escape(converted.without_prompts)
        console.print(f"[yellow]The checkpoint carries no embeddings of prompts:[/] {reason}")
    elif config.prompt is None:
        console.print(
            "[yellow]Every task uses its built-in prompt. If the weights were trained with a single text, give "
            "it as --prompt[/]"
        )
    console.print(f"[bold]Checkpoint[/] {escape(config.out)}", soft_wrap=True, highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(command())
