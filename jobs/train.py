"""Entry point of the training job: `upfusion train DATA... --out DEST` or `python -m jobs.train DATA... --out DEST`."""

import sys

from rich.console import Console

from jobs.command_line import job_command
from jobs.console import quiet
from jobs.train_console import TrainingLine, say_trained
from pipelines import storage
from pipelines.request import RequestError
from pipelines.run_workers import TrainingStoppedError
from pipelines.train import plan_train, train
from pipelines.train_config import TrainConfig

EXIT_OK, EXIT_CRASH, EXIT_INTERRUPTED = 0, 1, 130


@job_command(TrainConfig, name="train", positional=("data",))
def command(config: TrainConfig, verbose: bool) -> int:
    """Train a network on registered image pairs, on any number of workers.

    The same command again goes on where the last one stopped. Exit codes: 0 trained to the end, 2 a wrong request,
    1 a crash or losses that are no numbers.
    """
    console = Console(stderr=True)
    plan = plan_train(config)
    try:
        with quiet(verbose) as terminal, TrainingLine(terminal) as line:
            outcome = train(plan, line, verbose=verbose)
    except KeyboardInterrupt:
        console.print("\nStopped. What is done up to the last checkpoint is kept; the same command again goes on.")
        return EXIT_INTERRUPTED
    except RequestError:
        raise
    except Exception as error:
        if verbose:
            raise
        sentence = storage.without_secrets(str(error))
        console.print(f"\nThe run stopped: {sentence}", style="red", markup=False, soft_wrap=True)
        if not isinstance(error, TrainingStoppedError):  # which knows better what to do
            console.print("The same command again goes on from the last checkpoint. --verbose shows more.")
        return EXIT_CRASH
    say_trained(Console(), outcome)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(command())
