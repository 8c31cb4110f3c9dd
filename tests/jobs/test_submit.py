import shlex
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import jobs.submit
from jobs.command_line import main
from jobs.submit import SUBMITTED
from pipelines.cluster import submit as submission
from pipelines.cluster.submit import Submission
from pipelines.errors.exceptions import UsageError

ROOT = Path(__file__).parents[2]
FUSE = ("fuse", "s3://data/in", "--out", "s3://data/out")


@dataclass(frozen=True)
class Sent:
    words: list[str]
    destination: str
    where: dict[str, Any]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Sent]:
    """What would have been sent to a cluster."""
    there: list[Sent] = []

    def keep(job: str, words: list[str], destination: str, **where: Any) -> Submission:
        there.append(Sent([job, *words], destination, where))
        return Submission("fuse-out-1", "http://head:8265", f"python -m jobs.{job}")

    monkeypatch.setattr(submission, "submit", keep)
    return there


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, ["submit", *words])


def test_a_request_is_sent_as_it_was_typed_whatever_stands_between(sent: list[Sent]) -> None:
    words = ["--job-metadata", "team=night shift", *FUSE, "--metrics", "vif,ssim", "--address", "http://head:8265"]
    result = invoke(*words, "--gpus-per-actor", "0", "--retry-failed", "--job-metadata", "a=b=c")
    assert result.exit_code == 0, result.output
    assert sent[0].words == [*FUSE[:2], "--out", "s3://data/out", "--metrics", "vif,ssim", "--gpus-per-actor", "0.0",
                             "--retry-failed"]  # fmt: skip
    assert sent[0].destination == "s3://data/out"
    assert sent[0].where["metadata"] == {"team": "night shift", "a": "b=c"}
    assert sent[0].where["address"] == "http://head:8265"
    for line in (
        "Submitted fuse-out-1",
        "Dashboard http://head:8265/#/jobs/fuse-out-1",
        "the cluster's MLFLOW_TRACKING_URI; the run has the tag ray.submission_id = fuse-out-1",
        "ray job logs --follow --address http://head:8265 fuse-out-1",
        "ray job stop --address http://head:8265 fuse-out-1",
    ):
        assert line in result.output


def test_what_a_file_says_travels_as_words_and_flags_win(sent: list[Sent], tmp_path) -> None:
    (tmp_path / "fuse.yaml").write_text("source: s3://data/in\nmetrics: [vif, ssim]\nactors: 8\nno-tracking: true\n")
    result = invoke("fuse", "--out", "s3://data/out", "--config", str(tmp_path / "fuse.yaml"), "--actors", "2")
    assert result.exit_code == 0, result.output
    assert sent[0].words == ["fuse", "s3://data/in", "--metrics", "vif,ssim", "--actors", "2", "--no-tracking",
                             "--out", "s3://data/out"]  # fmt: skip
    assert "MLflow" not in result.output


def test_words_that_belong_together_stay_so(sent: list[Sent]) -> None:
    result = invoke("evaluate", "night=s3://a", "s3://b", "--methods", "tiny", "mean", "--out", "s3://x/y", "--verbose")
    assert result.exit_code == 0, result.output
    assert sent[0].words == ["evaluate", "night=s3://a", "s3://b", "--verbose", "--methods", "tiny,mean", "--out",
                             "s3://x/y"]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*FUSE, "--actorss", "2"), "No such option '--actorss'"),
        ((*FUSE, "--max-failed", "2"), "--max-failed: Input should be less than or equal to 1"),
        (("fuse", "s3://data/in"), "--out is missing"),
        ((*FUSE, "--job-metadata", "team"), "--job-metadata"),
        (("fuse", "in", "--out", "s3://data/out"), "SOURCE 'in'"),
        (("fuse", "s3://data/in", "--out", "out"), "--out 'out'"),
        (("train", "pairs=2", "--out", "s3://data/out"), "DATA 'pairs=2'"),
        (("evaluate", "night=pairs", "--out", "s3://data/out"), "SET 'pairs'"),
        (("measure", "a", "b"), "'measure' is not one of"),
        (("fuse", "s3://me:secretword@data/in", "--out", "s3://data/out"), "environment"),
    ],
    ids=["flag", "range", "missing", "metadata", "source", "out", "data", "set", "job", "secret"],
)
def test_a_wrong_request_is_refused_before_anything_is_sent(
    sent: list[Sent], words: tuple[str, ...], said: str
) -> None:
    result = invoke(*words)
    assert result.exit_code == 2
    assert said in result.output
    assert "secretword" not in result.output
    assert not sent


@pytest.mark.parametrize("code", [0, 1, 3])
def test_with_wait_the_jobs_code_is_the_commands(sent: list[Sent], monkeypatch, code: int) -> None:  # noqa: ARG001
    def say(_submission: Submission, write: Any) -> tuple[int, str]:
        write("fused 2 / 2 pairs\n")
        return code, "the head is gone" if code == 1 else ""

    monkeypatch.setattr(submission, "follow", say)
    result = invoke(*FUSE, "--wait")
    assert result.exit_code == code
    assert "fused 2 / 2 pairs" in result.stdout
    assert ("the head is gone" in result.stderr) == (code == 1)


def test_who_stops_waiting_does_not_stop_the_job(sent: list[Sent], monkeypatch) -> None:  # noqa: ARG001
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(submission, "follow", interrupted)
    result = invoke(*FUSE, "--wait")
    assert result.exit_code == 130
    assert "fuse-out-1" in result.stderr


def test_a_cluster_that_is_not_there_is_a_sentence(monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UsageError("nobody at http://head:8265")

    monkeypatch.setattr(submission, "submit", refuse)
    result = invoke(*FUSE)
    assert (result.exit_code, result.stderr) == (2, "Error: nobody at http://head:8265\n")


def test_every_submission_of_the_docs_is_one(sent: list[Sent]) -> None:
    pages = [*ROOT.glob("docs/*.md"), ROOT / "README.md"]
    lines = [line.partition("  #")[0] for page in pages for line in page.read_text().splitlines()]
    commands = [shlex.split(line)[2:] for line in lines if line.startswith("upfusion submit ")]
    assert len(commands) > 4
    for words in commands:
        result = invoke(*(word for word in words if word != "--wait"))
        assert result.exit_code == 0, (words, result.output)
    assert len(sent) == len(commands)


@pytest.mark.parametrize("job", SUBMITTED)
def test_no_option_of_a_job_is_taken_for_one_of_submit(job: str) -> None:
    def flags(command: Any) -> set[str]:
        return {flag for one in command.params for flag in one.opts if flag.startswith("-")}

    assert len(flags(jobs.submit.command)) == 5
    assert not flags(jobs.submit.command) & flags(import_module(f"jobs.{job}").command)
