"""Entry point of `upfusion ablate SET... --data DATA... --out DIR`: what is each part of the network worth?"""

import sys

from jobs.command_line import job_command
from jobs.exit_codes import EXIT_OK, explained
from jobs.terminal import Terminal, quiet
from pipelines.ablate.config import AblateConfig


@job_command(AblateConfig, name="ablate", positional=("sets",), several=("data", "variants"))
def command(config: AblateConfig, verbose: bool) -> int:
    """Train the network without each of its parts, compare the variants on sets of pairs, and exchange the prompts.

    Variants that are trained already are given with --variants. The same command again goes on where the last one
    stopped. Exit codes: 0 done, 2 a wrong request, 1 a crash.
    """
    console = Terminal(stderr=True)
    with console.status("getting ready"):
        from jobs.console.ablate import AblationLine, say_ablation
        from pipelines.ablate.job import ablate, plan_ablation

        plan = plan_ablation(config)
    with (
        explained(console, "The ablation", "What is done is kept", verbose=verbose),
        quiet(verbose) as terminal,
        AblationLine(terminal) as line,
    ):
        ablation = ablate(plan, line.update, line.on_training, verbose=verbose)
    say_ablation(Terminal(), ablation)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(command())
