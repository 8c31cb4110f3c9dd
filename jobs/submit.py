"""Entry point of `upfusion submit JOB ...`: the same job on a running Ray cluster."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click

from jobs.command_line import print_error
from jobs.exit_codes import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from jobs.terminal import Terminal
from pipelines.cluster.submit_defaults import DEFAULT_ADDRESS, NO_WORKING_DIR
from pipelines.errors.exceptions import UsageError

if TYPE_CHECKING:
    from pipelines.cluster.submit import Submission

SUBMITTED = ("fuse", "train", "evaluate", "ablate")


@click.command("submit", context_settings={"ignore_unknown_options": True})
@click.argument("job", type=click.Choice(SUBMITTED))
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="...")
@click.option(
    "--address", help=f"Ray's dashboard; by default RAY_API_SERVER_ADDRESS, RAY_ADDRESS or {DEFAULT_ADDRESS}."
)
@click.option("--wait", is_flag=True, help="Stream the job's log until it ends, and exit with its exit code.")
@click.option(
    "--job-metadata", "metadata", multiple=True, metavar="KEY=VALUE", help="Stored with the Ray job and the MLflow run."
)
@click.option("--runtime-env", metavar="FILE", help="YAML file of Ray's runtime environment.")
@click.option(
    "--working-dir",
    metavar="FOLDER",
    help=f"Folder uploaded to the cluster as the job's working directory; {NO_WORKING_DIR} if "
    "the nodes have upfusion installed. By default the checkout, if this runs from one.",
)
def command(job: str, words: tuple[str, ...], wait: bool, metadata: tuple[str, ...], **where: str | None) -> None:
    """Submit a job to a Ray cluster: JOB is fuse, train, evaluate or ablate, followed by its own options.

    They are checked here, before anything is submitted. Rerun the same command to resume where the job
    stopped. Exit codes: 0 the cluster accepted the job, 2 invalid arguments; with --wait those of the job, and 130 if
    it was stopped.
    """
    from pipelines.cluster.shared_paths import check_shared_paths
    from pipelines.cluster.submit import submit

    try:
        config, values = import_module(f"jobs.{job}").command.request(words)
        check_shared_paths(config, remote=True)
        submission = submit(job, values, config.out, metadata=_pairs(metadata), **where)
        uri = None if config.no_tracking else config.tracking_uri or "the cluster's MLFLOW_TRACKING_URI"
        _say(Terminal(stderr=True), submission, uri)
        sys.exit(_wait(submission) if wait else EXIT_OK)
    except UsageError as error:
        sys.exit(print_error(error, EXIT_USAGE))


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    split = [one.partition("=") for one in given]
    if wrong := [name for name, equals, _ in split if not (name and equals)]:
        raise UsageError(f"--job-metadata: expected KEY=VALUE, got {wrong[0]!r}")
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
    """Stream the log of the job, and return its exit code."""
    from pipelines.cluster.submit import follow

    try:
        code, reason = follow(submission, lambda text: click.echo(text, nl=False))
    except KeyboardInterrupt:
        click.echo(f"\n{submission.id} keeps running; the commands above show its log and stop it", err=True)
        return EXIT_INTERRUPTED
    if reason:
        click.echo(f"{submission.id}: {reason}", err=True)
    return code


if __name__ == "__main__":
    command()
