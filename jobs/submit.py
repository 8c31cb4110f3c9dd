"""Entry point of `upfusion submit JOB ...`: the same job, on a Ray cluster that runs already."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click

from jobs.command_line import say_error
from jobs.exit_codes import EXIT_INTERRUPTED, EXIT_OK, EXIT_REQUEST
from jobs.terminal import Terminal
from pipelines.cluster.submit_defaults import DEFAULT_ADDRESS, NO_WORKING_DIR
from pipelines.errors.exceptions import RequestError

if TYPE_CHECKING:
    from pipelines.cluster.submit import Submission

SUBMITTED = ("fuse", "train", "evaluate", "ablate")


@click.command("submit", context_settings={"ignore_unknown_options": True})
@click.argument("job", type=click.Choice(SUBMITTED))
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="...")
@click.option(
    "--address", help=f"Ray's dashboard; by default RAY_API_SERVER_ADDRESS, RAY_ADDRESS or {DEFAULT_ADDRESS}."
)
@click.option("--wait", is_flag=True, help="Show what the job says until it ends, and end with its exit code.")
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="Kept with the Ray job and the MLflow run.")
@click.option("--runtime-env", metavar="FILE", help="YAML file of Ray's runtime environment.")
@click.option(
    "--working-dir",
    metavar="FOLDER",
    help=f"Sent to the cluster, and where the job runs; {NO_WORKING_DIR} where the nodes have upfusion installed. By "
    "default the checkout, where this runs from one.",
)
def command(job: str, words: tuple[str, ...], wait: bool, metadata: tuple[str, ...], **where: str | None) -> None:
    """Submit a job to a Ray cluster: JOB is fuse, train, evaluate or ablate, and behind it stand its own options.

    They are checked here, before anything is sent. The same command again goes on where the job stopped. Exit codes:
    0 the cluster has the job, 2 a wrong request; with --wait those of the job, and 130 where it was stopped.
    """
    from pipelines.cluster.shared_paths import check_shared
    from pipelines.cluster.submit import submit

    try:
        config, said = import_module(f"jobs.{job}").command.request(words)
        check_shared(config, remote=True)
        submission = submit(job, said, config.out, metadata=_pairs(metadata), **where)
        uri = None if config.no_tracking else config.tracking_uri or "the cluster's MLFLOW_TRACKING_URI"
        _say(Terminal(stderr=True), submission, uri)
        sys.exit(_wait(submission) if wait else EXIT_OK)
    except RequestError as error:
        sys.exit(say_error(error, EXIT_REQUEST))


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    split = [one.partition("=") for one in given]
    if wrong := [name for name, equals, _ in split if not (name and equals)]:
        raise RequestError(f"--metadata: expected KEY=VALUE, got {wrong[0]!r}")
    return {name: value for name, _, value in split}


def _say(console: Terminal, submission: "Submission", tracking: str | None) -> None:
    to = f"--address {submission.address} {submission.id}"
    lines = {"Submitted": submission.id, "Command": submission.command, "Dashboard": submission.dashboard}
    if tracking:
        lines["MLflow"] = f"{tracking}; the run has the tag ray.submission_id = {submission.id}"
    lines |= {"Logs": f"ray job logs --follow {to}", "Stop": f"ray job stop {to}"}
    for heading, text in lines.items():
        console.print(f"{heading:9s} {text}", markup=False, highlight=False, soft_wrap=True)


def _wait(submission: "Submission") -> int:
    """Show what the job says, and return its exit code."""
    from pipelines.cluster.submit import follow

    try:
        code, said = follow(submission, lambda text: click.echo(text, nl=False))
    except KeyboardInterrupt:
        click.echo(
            f"\n{submission.id} goes on without you; the lines above say how to look at it and stop it", err=True
        )
        return EXIT_INTERRUPTED
    if said:
        click.echo(f"{submission.id}: {said}", err=True)
    return code


if __name__ == "__main__":
    command()
