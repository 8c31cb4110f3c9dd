"""Entry point of `upfusion align SOURCE --out rig.json`: the transform between two cameras, from their pairs."""

import shlex
import sys

from rich.markup import escape

from jobs.command_line import job_command
from jobs.exit_codes import EXIT_OK, EXIT_SOME_FAILED
from jobs.terminal import Terminal
from pipelines.align.config import AlignConfig


@job_command(AlignConfig, name="align", positional=("source", "source_b"))
def command(config: AlignConfig, verbose: bool) -> int:
    """Estimate the transform from B's pixels to A's for two cameras of one rig, from images or recordings.

    Writes the rig as JSON, and a page that shows A and B before and after. Refuses pairs that do not show the same
    scene. `upfusion fuse --rig FILE` then warps B. Exit codes: 0 every camera has a rig, 3 some have none, 2 a wrong
    request.
    """
    with Terminal(stderr=True).status("getting ready") as status:
        from pipelines.align.job import align

        outcome = align(config, status.update, verbose=verbose)
    console = Terminal()
    for camera, rig in outcome.rigs.rigs.items():
        description = escape(rig.describe())
        console.print(f"[bold]{escape(camera) or 'Rig':9s}[/] {description}", highlight=False, soft_wrap=True)
    for camera, why in outcome.refused.items():
        console.print(f"[yellow]{escape(camera) or 'rest':9s}[/] {escape(why)}", highlight=False, soft_wrap=True)
    fuse = f"upfusion fuse {config.shell_arguments} --rig {shlex.quote(config.out)} --out DEST"
    for heading, text in {"File": outcome.file, "Page": outcome.page, "Fuse": fuse}.items():
        console.print(f"[bold]{heading:9s}[/] {escape(text)}", highlight=False, soft_wrap=True)
    return EXIT_SOME_FAILED if outcome.refused else EXIT_OK


if __name__ == "__main__":
    sys.exit(command())
