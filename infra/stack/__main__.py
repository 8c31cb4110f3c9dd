"""`python -m infra.stack start`, `status` and `stop`: a cluster on one machine, without docker."""

import os
import sys
import tempfile
from pathlib import Path

import click

from infra.stack.processes import StackError
from infra.stack.ray_nodes import HEAD, WORKERS, alive_nodes
from infra.stack.stack import ENVIRONMENT, Stack, load_stack, start_stack
from pipelines.demo.street import write_archive
from pipelines.storage import objects as storage

NIGHT = "s3://data/night"
RUNS = "runs"
# Short, because paths of sockets lie below it, and where PostgreSQL's user may go.
FOLDER = Path(tempfile.gettempdir()) / f"upfusion-stack-{os.getuid()}"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--folder", type=click.Path(path_type=Path), default=FOLDER, show_default=True, help="Where it lives.")
@click.pass_context
def main(context: click.Context, folder: Path) -> None:
    """A cluster on one machine: S3 server, PostgreSQL, MLflow server, Ray head and two workers.

    All of it is plain processes, and ends, with everything that lies in it, when it is stopped.
    """
    context.obj = folder.absolute()


@main.command()
@click.option("--cpus", default=4, show_default=True, help="Logical CPUs of each worker.")
@click.option("--pairs", default=24, show_default=True, help="Synthetic pairs in s3://data/night, to try it with.")
@click.pass_obj
def start(folder: Path, cpus: int, pairs: int) -> None:
    """Start it and say how to use it."""
    stack = load_stack(folder)
    if stack is None:
        try:
            stack = start_stack(folder, cpus=cpus, say=click.echo)
            _put_pairs(stack, pairs)
        except (StackError, OSError) as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)
    else:
        click.echo("it was started before; `make stack ARGS=stop` ends it")
    _say(stack)


@main.command()
@click.pass_obj
def status(folder: Path) -> None:
    """Say what runs, of Ray's nodes what Ray itself says; exit code 1 where something does not."""
    stack = load_stack(folder)
    if stack is None:
        click.echo(f"nothing was started in {folder}")
        sys.exit(1)
    alive = alive_nodes(stack.environment)
    states = {name: _state(name, stack, alive) for name in stack.processes.started}
    for name, state in states.items():
        click.echo(f"{name:12s} {state}")
    ended = [name for name, state in states.items() if state != RUNS]
    _say(stack)
    sys.exit(1 if ended else 0)


@main.command()
@click.pass_obj
def stop(folder: Path) -> None:
    """End it, with everything that lies in it."""
    stack = load_stack(folder)
    if stack is None:
        click.echo(f"nothing was started in {folder}")
        return
    stack.stop()
    click.echo("stopped")


def _state(name: str, stack: Stack, alive: set[str]) -> str:
    """Say whether something runs, and where to look if it does not."""
    if not stack.processes.runs(name):
        return f"has ended, see {stack.processes.logs}"
    if name in (HEAD, *WORKERS) and name not in alive:
        return f"is dead, says Ray; see {stack.folder / 'ray'}"
    return RUNS


def _put_pairs(stack: Stack, count: int) -> None:
    os.environ.update(stack.environment)
    with tempfile.TemporaryDirectory() as folder:
        write_archive(Path(folder), count)
        for path in Path(folder).rglob("*.png"):
            storage.write_bytes(f"{NIGHT}/{path.relative_to(folder)}", path.read_bytes())


def _say(stack: Stack) -> None:
    for name, where in stack.parts.items():
        click.echo(f"{name:8s} {where}")
    stop = "make stack ARGS=stop" if stack.folder == FOLDER else f"python -m infra.stack --folder {stack.folder} stop"
    click.echo(
        f"""
Try it:
  . {stack.folder / ENVIRONMENT}
  upfusion submit fuse {NIGHT} --out s3://data/fused --images both --wait
End it: {stop}"""
    )


if __name__ == "__main__":
    main()
