"""Entry point of the training job: `upfusion train DATA... --out DEST` or `python -m jobs.train DATA... --out DEST`."""

import sys

from jobs.command_line import job_command
from jobs.exit_codes import EXIT_OK, explained
from jobs.terminal import Terminal, quiet
from pipelines.train.config import TrainConfig


@job_command(TrainConfig, name="train", positional=("data",))
def command(config: TrainConfig, verbose: bool) -> int:
    """Train a network on registered image pairs, on any number of workers.

    The same command again goes on where the last one stopped. Exit codes: 0 trained to the end, 2 a wrong request,
    1 a crash or losses that are no numbers.
    """
    console = Terminal(stderr=True)
    with console.status("getting ready"):
        from jobs.console.train import TrainingLine, say_trained
        from pipelines.train.job import plan_train, train

        plan = plan_train(config)
    kept = "What is done up to the last checkpoint is kept"
    with (
        explained(console, "The run", kept, verbose=verbose),
        quiet(verbose) as terminal,
        TrainingLine(terminal) as line,
    ):
        outcome = train(plan, line, verbose=verbose)
    say_trained(Terminal(), outcome)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(command())
