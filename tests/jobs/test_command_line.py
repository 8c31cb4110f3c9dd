import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import click
import pytest
import ray
from click.testing import CliRunner, Result
from pydantic import BaseModel, BeforeValidator, Field

from jobs.command_line import FIRST_COMMANDS, job_command, main
from pipelines.config.fields import split_at_commas
from pipelines.errors.exceptions import UsageError
from pipelines.fuse.config import FuseConfig
from upfusion.metrics import METRICS

Told = list[tuple[FuseConfig, bool]]


def command_that(act: Callable[[FuseConfig], int]) -> tuple[click.Command, Told]:
    """The fuse command, which instead of fusing keeps what it was told and then acts."""
    told: Told = []

    @job_command(FuseConfig, name="fuse", positional=("source",))
    def command(config: FuseConfig, verbose: bool) -> int:
        """Fuse pairs."""
        told.append((config, verbose))
        return act(config)

    return command, told


def told_by(*words: str) -> FuseConfig:
    command, told = command_that(lambda _: 0)
    result = CliRunner().invoke(command, words)
    assert (result.exit_code, result.stderr) == (0, "")
    return told[0][0]


def refused(*words: str) -> str:
    """What stands on stderr after invalid arguments: a sentence, nothing started, no traceback."""
    command, told = command_that(lambda _: 0)
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 2
    assert told == []
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    return errors[0]


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, words)


# Where values come from


def test_what_is_not_said_has_its_default():
    assert told_by("in", "--out", "there") == FuseConfig(source="in", out="there")


def test_every_kind_of_flag_arrives():
    config = told_by(
        "s3://bucket/in", "--out", "s3://bucket/out", "--a", "cam1/*.jpg", "--b", "cam2/*.jpg", "--task", "nir_visible",
        "--limit", "7", "--metrics", "ssim,vif", "--images", "both", "--format", "webp", "--actors", "2",
        "--gpus-per-actor", "0.5", "--max-failed", "0.1", "--retry-failed", "--no-tracking", "--prompt", "[x] warm",
    )  # fmt: skip
    assert config == FuseConfig(
        source="s3://bucket/in", out="s3://bucket/out", a="cam1/*.jpg", b="cam2/*.jpg", task="nir_visible",
        limit=7, metrics=("vif", "ssim"), images="both", format="webp", actors=2,
        gpus_per_actor=0.5, max_failed=0.1, retry_failed=True, no_tracking=True, prompt="[x] warm",
    )  # fmt: skip


def test_verbose_is_told_to_the_job():
    command, told = command_that(lambda _: 0)
    CliRunner().invoke(command, ["in", "--out", "out"])
    CliRunner().invoke(command, ["in", "--out", "out", "--verbose"])
    assert [verbose for _, verbose in told] == [False, True]


@pytest.mark.parametrize(("given", "metrics"), [("vif,ssim", ("vif", "ssim")), ("none", ()), ("all", tuple(METRICS))])
def test_metrics_are_given_with_commas(given, metrics):
    assert told_by("in", "--out", "out", "--metrics", given).metrics == metrics


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(
        "source: of the file\nout: of the file\nformat: webp\nmax-failed: 0.5\nretry_failed: true\nmetrics: [vif]\n"
    )
    assert told_by("--config", str(file)) == FuseConfig(
        source="of the file", out="of the file", format="webp", max_failed=0.5, retry_failed=True, metrics=("vif",)
    )
    # Also where the flag says what is the default anyway.
    config = told_by("of the flags", "--config", str(file), "--format", "png", "--max-failed", "1.0", "--metrics", "en")
    assert (config.source, config.out) == ("of the flags", "of the file")
    assert (config.format, config.max_failed, config.metrics) == ("png", 1.0, ("en",))


def test_an_empty_file_says_nothing(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert told_by("in", "--out", "out", "--config", str(tmp_path / "empty.yaml")) == FuseConfig(source="in", out="out")


def test_a_file_may_hold_any_text(tmp_path):
    (tmp_path / "job.yaml").write_text("source: 東京 夜\nout: '[x]'\nprompt: é\n", encoding="utf-8")
    config = told_by("--config", str(tmp_path / "job.yaml"))
    assert (config.source, config.out, config.prompt) == ("東京 夜", "[x]", "é")


# Flags that take several words


class Words(BaseModel):
    """A job that is told words of every kind."""

    sets: tuple[str, ...] = Field((), description="Sets.")
    methods: Annotated[tuple[str, ...], BeforeValidator(split_at_commas)] = Field(("x", "y"), description="Methods.")
    more_data: Annotated[tuple[str, ...], BeforeValidator(split_at_commas)] = Field((), description="Data.")
    out: str = Field("out", description="Place.")
    dry: bool = Field(False, description="Only look.")


def words_told_by(*words: str) -> Words:
    told: list[Words] = []

    @job_command(Words, name="words", positional=("sets",), several=("methods", "more_data"))
    def command(config: Words, verbose: bool) -> int:
        """Listen."""
        assert not verbose
        told.append(config)
        return 0

    result = CliRunner().invoke(command, words)
    assert (result.exit_code, result.stderr) == (0, "")
    return told[0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], {}),
        (["--methods", "a"], {"methods": ("a",)}),
        (["--methods", "a", "b", "c=/x", "--out", "X"], {"methods": ("a", "b", "c=/x"), "out": "X"}),
        (["--methods", "a,b", "c"], {"methods": ("a", "b", "c")}),
        (["--methods=a", "b"], {"methods": ("a", "b")}),
        (["--methods=c=/x=1", "b"], {"methods": ("c=/x=1", "b")}),
        (["--methods", "a", "--out", "X", "--methods", "b", "c"], {"methods": ("a", "b", "c"), "out": "X"}),
        (["--methods=a", "--methods=b"], {"methods": ("a", "b")}),
        (["s", "t", "--methods", "a", "b"], {"sets": ("s", "t"), "methods": ("a", "b")}),
        (["--methods", "a", "--out", "X", "s", "t"], {"methods": ("a",), "out": "X", "sets": ("s", "t")}),
        (["--methods", "a", "--dry", "s"], {"methods": ("a",), "dry": True, "sets": ("s",)}),
        (["--out=X", "s", "--methods", "a"], {"methods": ("a",), "out": "X", "sets": ("s",)}),
        (
            ["s", "--more-data", "d", "e", "--methods", "a", "b"],
            {"sets": ("s",), "more_data": ("d", "e"), "methods": ("a", "b")},
        ),
    ],
)
def test_words_up_to_the_next_flag_are_one_value_and_later_ones_positional_again(words, told):
    assert words_told_by(*words) == Words(**told)


def test_flags_of_several_words_win_over_the_file(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text("methods: [a, b]\nmore-data: d,e\nsets: [s]\n")
    assert words_told_by("--config", str(file)) == Words(methods=("a", "b"), more_data=("d", "e"), sets=("s",))
    assert words_told_by("--methods", "c", "--config", str(file)).methods == ("c",)


def test_a_flag_that_takes_one_word_takes_no_more():
    assert "ssim" in refused("in", "--out", "out", "--metrics", "vif", "ssim")


# Invalid arguments


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "out"], "SOURCE"),
        (["in"], "--out"),
        (["in", "--out", "out", "--limit", "0"], "--limit"),
        (["in", "--out", "out", "--limit", "few"], "'few'"),
        (["in", "--out", "out", "--max-failed", "2"], "--max-failed"),
        (["in", "--out", "out", "--gpus-per-actor", "1.5"], "--gpus-per-actor"),
        (["in", "--out", "out", "--task", "ct"], "'ct'"),
        (["in", "--out", "out", "--metrics", "vif,psnrr"], "'psnrr'"),
        (["in", "--out", "out", "--images", "disk"], "'disk'"),
        (["in", "--out", "out", "--format", "gif"], "'gif'"),
        (["in", "--out", "out", "--a", "x/*"], "--a"),
        (["in", "--out", "out", "--formats", "png"], "--formats"),
        (["in", "more", "still more", "--out", "out"], "still more"),
        (["in", "--out", "out", "--config", "/nowhere/job.yaml"], "'/nowhere/job.yaml'"),
        (["in", "--out", "out", "--config", "/"], "'/'"),
    ],
)
def test_a_wrong_request_is_one_sentence_that_names_the_flag(words, said):
    sentence = refused(*words)
    assert said in sentence
    flags = [word for word in words if word.startswith("--") and word != "--out"]
    assert not flags or flags[-1] in sentence


def test_all_that_is_wrong_is_said_at_once():
    said = refused("in", "--limit", "0", "--task", "ct")
    assert all(flag in said for flag in ("--limit", "--task", "--out"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            b"formats: png\nout: x\n",
            "'formats'",
        ),
        (
            b"limit: many\n",
            "--limit",
        ),
        (b"metrics: [vif, psnrr]\n", "--metrics"),
        (b"images: disk\n", "--images"),
        (b"source: [a, b]\nout: x\n", "SOURCE"),
        (b"- out\n- in\n", "job.yaml"),
        (b"just text\n", "job.yaml"),
        (b"out: [x\n", "YAML"),
        (b"out: caf\xe9\n", "YAML"),
        (b"out: !!python/object/apply:os.system ['true']\n", "YAML"),
    ],
)
def test_a_wrong_file_is_one_sentence_that_names_the_option_or_the_file(tmp_path, data, said):
    file = tmp_path / "job.yaml"
    file.write_bytes(data)
    sentence = refused("--config", str(file))
    assert said in sentence
    assert "--config" not in sentence or str(file) in sentence


def test_what_a_job_refuses_is_a_sentence_without_secrets_and_code_2(monkeypatch):
    def refuse(_: FuseConfig) -> int:
        raise UsageError("no pairs at https://me:hidden@host signed with open-sesame")

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "open-sesame")
    for words in (["in", "--out", "out"], ["in", "--out", "out", "--verbose"]):
        result = CliRunner().invoke(command_that(refuse)[0], words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == "Error: no pairs at https://me:***@host signed with ***\n"


def test_a_store_in_trouble_is_a_sentence_without_secrets_and_code_1(monkeypatch):
    def crash(_: FuseConfig) -> int:
        raise OSError(5, "signed with open-sesame", "s3://bucket/x")

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "open-sesame")
    command, _ = command_that(crash)
    result = CliRunner().invoke(command, ["in", "--out", "out"])
    assert result.exit_code == 1
    assert result.stderr == "Error: [Errno 5] signed with ***: 's3://bucket/x'\n"
    result = CliRunner().invoke(command, ["in", "--out", "out", "--verbose"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback (most recent call last):\n")
    assert result.stderr.endswith("\nError: [Errno 5] signed with ***: 's3://bucket/x'\n")
    assert "open-sesame" not in result.output


def test_what_nobody_foresaw_is_a_sentence_without_secrets_and_code_1(monkeypatch):
    def crash(_: FuseConfig) -> int:
        raise KeyError("signed with open-sesame")

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "open-sesame")
    command, _ = command_that(crash)
    result = CliRunner().invoke(command, ["in", "--out", "out"])
    assert (result.exit_code, result.stderr) == (1, "Error: KeyError: 'signed with ***'\n")
    result = CliRunner().invoke(command, ["in", "--out", "out", "--verbose"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback (most recent call last):\n")
    assert "open-sesame" not in result.output


@pytest.mark.parametrize(
    "words",
    [
        ["s3://AKIAX:swordfish@bucket/in", "--out", "out"],
        ["in", "--out", "https://host/x?X-Amz-Signature=swordfish"],
        ["in", "--out", "out", "--model", "https://swordfish@host/x.safetensors"],
        ["in", "--out", "out", "--allow", "/data,https://me:swordfish@host"],
        ["in", "--out", "out", "--tracking-uri", "postgresql://me:swordfish@host/mlflow"],
        ["in", "https://me:swordfish@host", "--out", "out"],
        ["in", "--out", "out", "--actors", "https://me:swordfish@host"],
    ],
)
def test_credentials_in_an_option_are_refused_and_not_repeated(words):
    said = refused(*words)
    assert "swordfish" not in said
    assert "environment" in said or "***" in said


@pytest.mark.parametrize("line", ["source: s3://AKIAX:swordfish@bucket", "allow: ['https://host?sig=swordfish']"])
def test_credentials_in_a_file_are_refused_and_not_repeated(tmp_path, line):
    (tmp_path / "job.yaml").write_text(line)
    said = refused("--out", "out", "--config", str(tmp_path / "job.yaml"))
    assert "swordfish" not in said
    assert "environment" in said


def test_signs_that_a_terminal_would_act_on_are_written_out():
    def refuse(_: FuseConfig) -> int:
        raise UsageError("no pairs in \x1b]0;title\x07 \u202egnp.exe 東京")

    result = CliRunner().invoke(command_that(refuse)[0], ["in", "--out", "out"])
    assert result.stderr == "Error: no pairs in \\x1b]0;title\\x07 \\u202egnp.exe 東京\n"
    assert "\\x1b]0;" in refused("in", "\x1b]0;title", "--out", "out")


@pytest.mark.parametrize("code", [0, 1, 3, 130])
def test_the_exit_code_is_the_jobs(code):
    assert CliRunner().invoke(command_that(lambda _: code)[0], ["in", "--out", "out"]).exit_code == code


def test_the_real_commands_refuse_before_anything_is_started(tmp_path):
    for words in (
        ["fuse"],
        ["fuse", str(tmp_path)],
        ["pairs"],
        ["pairs", str(tmp_path / "nowhere")],
        ["demo", "--count", "0"],
    ):
        result = invoke(*words)
        assert result.exit_code == 2
        assert result.stderr.startswith("Error: ")
        assert all(line.startswith("Example: ") for line in result.stderr.splitlines()[1:])
    assert list(Path(tmp_path).iterdir()) == []


def test_an_archive_without_pairs_is_refused_with_what_to_try_and_nothing_is_started(tmp_path):
    (tmp_path / "empty").mkdir()
    ray_was_there = ray.is_initialized()
    result = invoke("fuse", str(tmp_path / "empty"), "--out", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert re.search(r"--a\b.*--b\b", result.stderr)
    assert not (tmp_path / "out").exists()
    assert ray.is_initialized() == ray_was_there


def test_the_module_runs_like_the_command():
    ran = subprocess.run(
        [sys.executable, "-m", "jobs.command_line", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.startswith("upfusion")


def test_a_mistyped_command_is_answered_with_the_one_that_is_meant():
    result = CliRunner().invoke(main, ["mesure"])
    assert result.exit_code == 2
    assert "'measure'" in result.stderr


def test_what_to_type_first_is_a_line_per_command():
    lines = [line.strip() for line in CliRunner().invoke(main, ["--help"]).stdout.splitlines()]
    assert all(line in lines for line in FIRST_COMMANDS.splitlines())
