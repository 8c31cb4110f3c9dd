"""Every command in infra/ is one that the command line takes: in manifests, in comments and on the page."""

import importlib
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel
from ray.dashboard.modules.job.cli import job_cli_group

from jobs import command_line
from pipelines.fuse.config import FuseConfig
from pipelines.train.config import TrainConfig

from .manifests import ROOT, built, clusters

INFRA = ROOT / "infra"
CHECKED = set(command_line.JOBS) - {"submit"}  # which sends a job off instead of being one
AFTER_A_COMMAND = {"||", "&&", ";", "|", ">"}


class Parsed(BaseException):
    """Ends a command where its job would begin."""

    def __init__(self, config: BaseModel) -> None:
        self.config = config


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch):
    check = command_line._validate

    def stop(*arguments):
        raise Parsed(check(*arguments))

    monkeypatch.setattr(command_line, "_validate", stop)


def parse(line: str) -> list[BaseModel]:
    """Give the configurations that a shell line starts jobs with; raises click's or our own error for a wrong one."""
    words = shlex.split(line)
    if words[:2] == ["sh", "-c"]:
        return parse(words[2])
    if words[:3] == ["ray", "job", "submit"]:
        job_cli_group.commands["submit"].make_context("submit", words[3:])
    return [config for name, arguments in _commands(words) if (config := _configure(name, arguments))]


def _commands(words: list[str]) -> Iterator[tuple[str, list[str]]]:
    for at, (before, word) in enumerate(itertools.pairwise(words), start=2):
        is_job = (before == "-m" and word.startswith("jobs.")) or (before == "upfusion" and word in CHECKED)
        if is_job:
            yield word.removeprefix("jobs."), list(itertools.takewhile(lambda w: w not in AFTER_A_COMMAND, words[at:]))


def _configure(job: str, arguments: list[str]) -> BaseModel:
    try:
        importlib.import_module(f"jobs.{job}").command.main(arguments, standalone_mode=False)
    except Parsed as parsed:
        return parsed.config
    except SystemExit as error:
        raise ValueError(f"upfusion {job} {shlex.join(arguments)}: refused with exit code {error.code}") from error
    raise AssertionError("the job began")


def written_lines(file: Path) -> list[str]:
    """Give the shell lines of a file: of a page the blocks of code, of any other the comments."""
    text = file.read_text().replace("\\\n#", " ").replace("\\\n", " ")
    if file.suffix == ".md":
        found = [line for block in re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S) for line in block.splitlines()]
    else:
        found = [line.lstrip(" #") for line in text.splitlines() if line.lstrip().startswith("#")]
    lines = [line.strip().removeprefix("docker compose exec head ").split("  #")[0] for line in found]
    return [line for line in lines if line.startswith(("ray job submit", "python -m jobs", "upfusion "))]


FILES = [*INFRA.rglob("*.md"), *INFRA.rglob("*.yaml"), *INFRA.rglob("Dockerfile")]
PAGES = [file for file in sorted(FILES) if written_lines(file)]


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_every_command_that_is_written_down_is_taken(file):
    for line in written_lines(file):
        assert parse(line), line


def test_commands_are_found():
    assert {file.name for file in PAGES} >= {"README.md", "compose.yaml"}
    assert len([line for file in PAGES for line in written_lines(file)]) >= 6


@pytest.mark.parametrize("overlay", ["local", "aws"])
def test_every_job_of_an_overlay_is_taken_and_fits_its_cluster(overlay):
    seen = 0
    for manifest in built(overlay):
        if manifest["kind"] not in ("RayJob", "RayCronJob"):
            continue
        [config] = parse(manifest["spec"].get("jobTemplate", manifest["spec"])["entrypoint"])
        [cluster] = clusters(manifest)
        gpus = sum(group["maxReplicas"] for group in cluster["workerGroupSpecs"] if group["groupName"] == "gpu")
        # A job counts the GPUs that are there when it starts, and a cluster that grows has none then.
        if isinstance(config, FuseConfig):
            assert config.gpus_per_actor is not None
            assert config.actors is not None
            assert config.actors * config.gpus_per_actor <= gpus
        else:
            assert isinstance(config, TrainConfig)
            assert config.gpus_per_worker is not None
            assert config.worker_range[1] * config.gpus_per_worker <= gpus
        # --tracking-uri would hide the server that the environment names.
        assert config.tracking_uri is None
        assert config.no_tracking is False
        seen += 1
    assert seen == 3


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("python -m jobs.fuse s3://a/b --out s3://c/d --actor 4", "No such option"),
        ("sh -c 'python -m jobs.fuse s3://a/b --out s3://c/d --format gif || test $? -eq 3'", "is not one of"),
        ("ray job submit --working-directory . -- python -m jobs.fuse s3://a/b --out s3://c/d", "No such option"),
    ],
)
def test_a_misspelt_command_is_not_taken(line, says):
    with pytest.raises(click.UsageError, match=says):
        parse(line)


def test_a_wrong_value_is_not_taken(capsys):
    with pytest.raises(ValueError, match="exit code 2"):
        parse("python -m jobs.train s3://a/b --out s3://c/d --alias champion")
    assert "--register-as" in capsys.readouterr().err
