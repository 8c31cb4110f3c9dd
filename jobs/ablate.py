"""Entry point of `upfusion ablate SET... --data DATA... --out DIR`: what is each part of the network worth?"""

import sys

from jobs.command_line import job_command
from jobs.exit_codes import EXIT_OK, exit_on_failure
from jobs.terminal import Terminal, quiet
from pipelines.ablate.config import AblateConfig


@job_command(AblateConfig, name="ablate", positional=("sets",), several=("data", "variants"))
def command(config: AblateConfig, verbose: bool) -> int:
    """Train the network without each of its parts, compare the variants on sets of pairs, and exchange the prompts.

    Variants that are trained already are given with --variants. Rerun the same command to resume where the last one
    stopped. Exit codes: 0 done, 2 invalid arguments, 1 a crash.
    """
    console = Terminal(stderr=True)
    with console.status("getting ready"):
        from jobs.console.ablate import AblationLine, print_ablation
        from pipelines.ablate.job import ablate, plan_ablation

        plan = plan_ablation(config)
    with (
        exit_on_failure(console, "The ablation", "Progress is saved", verbose=verbose),
        quiet(verbose) as terminal,
        AblationLine(terminal) as line,
    ):
        ablation = ablate(plan, line.update, line.on_training, verbose=verbose)
    print_ablation(Terminal(), ablation)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(command())
