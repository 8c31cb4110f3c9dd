"""Handing a job to a Ray cluster that runs already, through the server of its dashboard."""

import asyncio
import logging
import os
import re
import secrets
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import tenacity
import yaml
from ray.exceptions import RayError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from pipelines.cluster.environment import DESTINATION
from pipelines.cluster.git import git_commit
from pipelines.cluster.submit_defaults import DEFAULT_ADDRESS, NO_WORKING_DIR
from pipelines.errors.exceptions import UsageError
from pipelines.errors.redaction import BY_ENVIRONMENT, holds_credentials, names_secret, redact

CHECKOUT = Path(__file__).parents[2]
# What a job does not need of a checkout, beside what .gitignore names.
NOT_SENT = ["/tests", "/docs", "/benchmarks", "/infra", "/.ci"]
# Ray's own 3 seconds are too few to end the MLflow run, too.
STOP_SECONDS = "30"
TALKATIVE = ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk")
INTERRUPTED, LOST = 130, 1
SECONDS_TO_ANSWER = 600
UNKNOWN = "status code 404"
# A dashboard answers some seconds before the agent that starts jobs.
STARTING, SECONDS_TO_START = "No available agent", 60


@dataclass(frozen=True)
class Submission:
    """A job that a cluster has taken."""

    id: str
    address: str
    """Of the cluster's dashboard."""
    command: str

    @property
    def dashboard(self) -> str:
        """The page of the job."""
        return f"{self.address}/#/jobs/{self.id}"


def submit(
    job: str,
    words: Sequence[str],
    destination: str,
    *,
    address: str | None = None,
    metadata: Mapping[str, str] | None = None,
    runtime_env: str | None = None,
    working_dir: str | None = None,
) -> Submission:
    """Submit `python -m jobs.JOB WORDS...` and return as soon as the cluster has it.

    `runtime_env` is a YAML file of Ray's; `working_dir` what is sent along, by default the checkout that this runs
    from, or nothing where upfusion is installed. Raises UsageError when something is wrong with the request or with
    the way to the cluster.
    """
    command = shlex.join(["python", "-m", f"jobs.{job}", *words])
    tags = dict(metadata or {})
    _refuse_secrets("the job's arguments", [("", command)])
    _refuse_secrets("--job-metadata", tags.items())
    environment = make_runtime_env(runtime_env, working_dir)
    client, address = _connect(address)
    _refuse_second(client, destination, address)
    # Ray takes an id only once; a random part lets the same command be given again, which is how a job resumes.
    name = re.sub(r"[^\w-]+", "-", destination.rstrip("/").rpartition("/")[2]).strip("-")[:40]
    submission_id = "-".join(part for part in (job, name, secrets.token_hex(4)) if part)
    try:
        _once_it_can(
            client.submit_job,
            # In the shell's place, which ends at once when the job is stopped: where nobody then waits for its child,
            # as in a container without an init process, Ray would take the job for running until time is up.
            entrypoint=f"exec {command}",
            submission_id=submission_id,
            runtime_env=environment,
            metadata={**tags, DESTINATION: destination},
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise UsageError(f"the cluster at {address} refused the job: {redact(str(error))}") from error
    return Submission(submission_id, address, command)


@tenacity.retry(
    retry=tenacity.retry_if_exception(lambda error: STARTING in str(error)),
    stop=tenacity.stop_after_delay(SECONDS_TO_START),
    wait=tenacity.wait_fixed(2),
    reraise=True,
)
def _once_it_can(submit_job: Callable[..., str], **job: Any) -> str:
    """Submit a job, to a cluster that has just been started as soon as it takes jobs."""
    return submit_job(**job)


def follow(submission: Submission, write: Callable[[str], None]) -> tuple[int, str]:
    """Write what a job says until it has ended; return its exit code, and what there is to say where it has none.

    A cluster that does not answer is asked again for ten minutes: the job continues meanwhile.
    """
    client, _ = _connect(submission.address)
    log = _Log(write)
    heard = time.monotonic()
    while True:
        # It may break off where nothing is said for long; the job continues.
        with suppress(RuntimeError, aiohttp.ClientError, OSError):
            asyncio.run(_tail(client, submission.id, log))
        try:
            info = client.get_job_info(submission.id)
            if info.status.is_terminal():
                log.begin().take(client.get_job_logs(submission.id))
                return _ending(info)
            heard = time.monotonic()
        except (RuntimeError, OSError, RayError) as error:
            said = redact(" ".join(str(error).split()))
            if UNKNOWN in said:
                return LOST, f"{submission.address} no longer knows the job: {said}"
            if time.monotonic() - heard > SECONDS_TO_ANSWER:
                return LOST, f"{submission.address} did not answer for ten minutes, and the job may continue: {said}"
        time.sleep(1)


def make_runtime_env(file: str | None, working_dir: str | None) -> dict[str, Any]:
    """Return Ray's runtime environment: what the file says, the working directory, and what every job needs.

    Raises UsageError for a file that is none, and for secrets: Ray's dashboard shows all of it.
    """
    given = _read(file) if file else {}
    _refuse_secrets(f"--runtime-env {file}", _texts(given))
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": STOP_SECONDS, **(given.get("env_vars") or {})}
    if working_dir is None and "working_dir" not in given and (CHECKOUT / "pyproject.toml").is_file():
        given = {"excludes": NOT_SENT, **given, "working_dir": str(CHECKOUT)}
        if commit := git_commit():  # .git stays here
            variables = {"GIT_COMMIT": commit, **variables}
    elif working_dir not in (None, NO_WORKING_DIR):
        if "://" not in working_dir and not Path(working_dir).is_dir():
            raise UsageError(f"--working-dir {working_dir}: no such folder; {NO_WORKING_DIR} uploads nothing")
        given = {**given, "working_dir": working_dir}
    return {**given, "env_vars": variables}


def _connect(address: str | None) -> tuple[JobSubmissionClient, str]:
    """Return a client and the address of the dashboard."""
    for logger in TALKATIVE:  # of every file that is left out of an upload
        logging.getLogger(logger).setLevel(logging.ERROR)
    named = [os.environ.get(name, "") for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")]
    address = (address or next((one for one in named if one.startswith("http")), DEFAULT_ADDRESS)).rstrip("/")
    if not re.match(r"https?://[^/]", address) or holds_credentials(address):
        raise UsageError(f"--address: expected http://HEAD:8265, the address of Ray's dashboard. {BY_ENVIRONMENT}")
    # Which Ray takes even before an address that it is given.
    os.environ["RAY_API_SERVER_ADDRESS"] = address
    try:
        return JobSubmissionClient(address), address
    except (OSError, RuntimeError, RayError) as error:  # the last one where a token is missing or wrong
        raise UsageError(
            f"no Ray cluster accepts jobs at {address}: {redact(str(error).splitlines()[0])} "
            "Give the address of its dashboard with --address http://HEAD:8265 or RAY_API_SERVER_ADDRESS."
        ) from error


def _refuse_second(client: JobSubmissionClient, destination: str, address: str) -> None:
    """Raise UsageError where a job of this cluster is at work on the destination: both would do the same pairs."""
    for one in client.list_jobs():
        if (one.metadata or {}).get(DESTINATION) == destination and not one.status.is_terminal():
            raise UsageError(
                f"{one.submission_id} is already running on {destination}. Follow it: ray job logs --follow --address "
                f"{address} {one.submission_id}; or stop it first: ray job stop --address {address} {one.submission_id}"
            )


class _Log:
    """Writes what a job says, nothing of it twice, however often the log is sent from its beginning."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._written = self._received = 0

    def begin(self) -> "_Log":
        """Start to receive the log from its beginning."""
        self._received = 0
        return self

    def take(self, text: str) -> None:
        """Receive more of it."""
        new = text[max(0, self._written - self._received) :]
        self._received += len(text)
        self._written = max(self._written, self._received)
        if new:
            self._write(new)


async def _tail(client: JobSubmissionClient, submission_id: str, log: _Log) -> None:
    log.begin()
    async for text in client.tail_job_logs(submission_id):
        log.take(text)


def _ending(info: JobDetails) -> tuple[int, str]:
    if info.status == JobStatus.SUCCEEDED:
        return 0, ""
    if info.status == JobStatus.STOPPED:
        return INTERRUPTED, "the job was stopped"
    if info.driver_exit_code is not None:
        return info.driver_exit_code, ""
    return 1, redact(str(info.message))


def _refuse_secrets(what: str, named: Any) -> None:
    for name, text in named:
        if names_secret(name) or holds_credentials(text) or redact(text) != text:
            raise UsageError(
                f"{what}: {name or 'they'} would expose a secret to everyone with access to the cluster's jobs. "
                f"{BY_ENVIRONMENT}"
            )


def _texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Give every text of a value that YAML can hold, with the name it stands under."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _texts(one, str(key))
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one, name)
    elif value is not None:
        yield name, str(value)


def _read(file: str) -> dict[str, Any]:
    try:
        read = yaml.safe_load(Path(file).read_bytes()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"--runtime-env {file} cannot be read: {error}") from error
    if not isinstance(read, dict):
        raise UsageError(f"--runtime-env {file}: expected Ray's fields, such as env_vars, as 'name: value' lines")
    return read
