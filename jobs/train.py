"""Entry point of the training job: `upfusion train DATA... --out DEST` or `python -m jobs.train DATA... --out DEST`."""

import sys

from jobs.command_line import job_command
from jobs.exit_codes import EXIT_OK, exit_on_failure
from jobs.terminal import Terminal, quiet
from pipelines.train.config import TrainConfig


@job_command(TrainConfig, name="train", positional=("data",))
def command(config: TrainConfig, verbose: bool) -> int:
    """Train a network on registered image pairs, on any number of workers.

    Rerun the same command to resume where the last one stopped. Exit codes: 0 trained to the end, 2 invalid arguments,
    1 a crash, or losses that are NaN or Inf.
    """
    console = Terminal(stderr=True)
    with console.status("getting ready"):
        from jobs.console.train import TrainingLine, print_trained
        from pipelines.train.job import plan_train, train

        plan = plan_train(config)
    kept = "Progress up to the last checkpoint is saved"
    with (
        exit_on_failure(console, "The run", kept, verbose=verbose),
        quiet(verbose) as terminal,
        TrainingLine(terminal) as line,
    ):
        outcome = train(plan, line, verbose=verbose)
    print_trained(Terminal(), outcome)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(command())
