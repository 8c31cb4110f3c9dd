"""Entry point of the plain training loop: `python -m jobs.train_tiny DATA... --out tiny.safetensors`."""

import sys

from rich.console import Console

from jobs.command_line import job_command
from pipelines.train_tiny import TrainTinyConfig, train_tiny


@job_command(TrainTinyConfig, name="train-tiny", positional=("data",))
def command(config: TrainTinyConfig, verbose: bool) -> int:  # noqa: ARG001
    """Train preset tiny on infrared-visible pairs with a plain loop. The same command again goes on."""
    console = Console()
    train_tiny(config, lambda line: console.print(line, highlight=False))
    console.print(f"wrote {config.out}")
    return 0


if __name__ == "__main__":
    sys.exit(command())
