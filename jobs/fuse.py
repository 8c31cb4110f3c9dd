"""Entry point of the fuse job: `upfusion fuse SOURCE --out DEST` or `python -m jobs.fuse SOURCE --out DEST`."""

import sys

from jobs.command_line import job_command
from jobs.console.fuse import print_image_pair, print_outcome, print_unpaired, warn_of_exchange, warn_of_idle_prompt
from jobs.console.progress import Activity, ProgressLine
from jobs.exit_codes import EXIT_CRASH, EXIT_OK, EXIT_SOME_FAILED, exit_on_failure
from jobs.terminal import Terminal, quiet
from pipelines.fuse.config import FuseConfig


@job_command(FuseConfig, name="fuse", positional=("source", "source_b"))
def command(config: FuseConfig, verbose: bool) -> int:
    """Fuse two images, or an archive of image pairs into images, Parquet rows, metrics and a report.

    Two files are fused into a third: `upfusion fuse visible.jpg infrared.png -o fused.png`. An archive is fused into
    a folder: `upfusion fuse ARCHIVE -o DEST`, or `upfusion fuse VISIBLE INFRARED -o DEST` where each sensor has a
    folder of its own.

    Rerun the same command to resume where the last one stopped. Exit codes: 0 all pairs fused, 3 some failed,
    2 invalid arguments, 1 a crash.
    """
    from pipelines.archive.discover import are_exchanged, check_local_sources

    check_local_sources(config)
    if are_exchanged(config):
        warn_of_exchange(Terminal(stderr=True), config)
    return run_image_pair(config) if config.is_image_pair else run_fuse(config, verbose=verbose)


def run_image_pair(config: FuseConfig) -> int:
    """Fuse two files into a third, and return the exit code."""
    console = Terminal(stderr=True)
    with Activity(console) as activity:
        activity.show("loading PyTorch")
        from pipelines.fuse.image_pair import fuse_image_pair

        fused = fuse_image_pair(config, activity.show)
    print_image_pair(console, Terminal(), fused)
    return EXIT_SOME_FAILED if fused.row["error_code"] else EXIT_OK


def run_fuse(config: FuseConfig, *, verbose: bool) -> int:
    """Fuse, show progress and outcome, and return the exit code."""
    console = Terminal(stderr=True)
    with Activity(console) as activity:
        activity.show("loading PyTorch")
        from pipelines.fuse.defaults import complete
        from pipelines.fuse.job import fuse
        from pipelines.fuse.plan import plan_fuse

        plan = plan_fuse(complete(config), on_activity=activity.show)
    print_unpaired(console, plan.found)
    warn_of_idle_prompt(console, config.prompt, plan.method)
    with (
        exit_on_failure(console, "The job", "Progress is saved", verbose=verbose),
        quiet(verbose) as terminal,
        ProgressLine(terminal) as progress,
    ):
        outcome = fuse(plan, progress.update, verbose=verbose)
    print_outcome(Terminal(), outcome)
    if outcome.failed_share > config.max_failed:
        console.print(f"{outcome.failed} of {outcome.pairs} failed, more than --max-failed {config.max_failed}")
        return EXIT_CRASH
    return EXIT_SOME_FAILED if outcome.failed else EXIT_OK


if __name__ == "__main__":
    sys.exit(command())
