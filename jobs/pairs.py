"""Entry point of `upfusion pairs SOURCE`: what would be fused, with nothing started."""

import sys

from rich.table import Table

from jobs.command_line import job_command
from jobs.console.fuse import describe_alignment, print_unpaired
from jobs.terminal import Terminal
from pipelines.archive.config import ArchiveConfig
from upfusion.counted import counted
from upfusion.image_guard import MAX_PIXELS
from upfusion.prompts import TASKS

SIZES_SHOWN = 20


@job_command(ArchiveConfig, name="pairs", positional=("source", "source_b"))
def command(config: ArchiveConfig, verbose: bool) -> int:  # noqa: ARG001
    """List the pairs of an archive: counts by task and size, and files without a partner. Starts nothing."""
    # Long URIs stay on one line for copying and piping.
    console = Terminal(soft_wrap=True)
    with Terminal(stderr=True).status("looking for pairs"):
        from pipelines.archive.discover import discover
        from pipelines.archive.sizes import count_sizes
        from pipelines.rigs.estimate import judge_archive

        found = discover(config, recordings=True)
        sizes = count_sizes(found.pairs)
        verdict = judge_archive(found.pairs, MAX_PIXELS)
    table = Table(
        "task", "A", "B", "pairs", title=counted(found.pairs.num_rows, "pair"), title_justify="left", box=None
    )
    for (task, size_a, size_b), count in sizes.counts.most_common(SIZES_SHOWN):
        table.add_row(f"{task} [dim]({TASKS[task]})[/]", size_a, size_b, str(count))
    console.print(table)
    if len(sizes.counts) > SIZES_SHOWN:
        console.print(f"and {counted(len(sizes.counts) - SIZES_SHOWN, 'more size')}")
    if sizes.differing:
        console.print(
            f"[yellow]{sizes.differing} of {counted(sizes.looked_at, 'pair')} differ in size.[/] Where both show the "
            "same part of the scene, --resize b-to-a scales B; otherwise `upfusion align` estimates a rig."
        )
    if sizes.looked_at < found.pairs.num_rows:
        console.print(f"Sizes are of {counted(sizes.looked_at, 'pair')}, evenly spread.")
    if verdict is not None:
        console.print(describe_alignment(verdict, config.shell_arguments), highlight=False, soft_wrap=True)
    print_unpaired(console, found)
    if found.ignored:
        console.print(f"{found.ignored} other files are ignored.")
    return 0


if __name__ == "__main__":
    sys.exit(command())
