import io
import os
import signal
import time

import pytest
from rich.console import Console

from jobs.exit_codes import EXIT_CRASH, EXIT_INTERRUPTED, exit_on_failure
from pipelines.errors.exceptions import JobStoppedError, UsageError

RESUMES = "Progress is saved; rerun the same command to resume."


def ends(error: BaseException | None, *, verbose: bool = False) -> tuple[object, list[str]]:
    """The exit code of a block, or what it let pass, and the lines that were said."""
    output = io.StringIO()
    passed: object = None
    try:
        # Narrow, because sentences are not broken into lines.
        with exit_on_failure(Console(file=output, width=20), "The job", "Progress is saved", verbose=verbose):
            if error:
                raise error
    except SystemExit as exit_:
        passed = exit_.code
    except BaseException as error:  # noqa: BLE001  # whatever passes
        passed = error
    return passed, [line for line in output.getvalue().splitlines() if line]


@pytest.mark.parametrize("verbose", [False, True])
def test_what_ends_well_or_is_interrupted_says_so_however_much_is_told(verbose):
    assert ends(None, verbose=verbose) == (None, [])
    assert ends(KeyboardInterrupt(), verbose=verbose) == (EXIT_INTERRUPTED, [f"Interrupted. {RESUMES}"])
    assert EXIT_INTERRUPTED == 130


def test_a_crash_is_a_sentence_with_what_is_kept():
    code, lines = ends(KeyError("pair [red]7[/]"))
    assert code == EXIT_CRASH == 1
    what, kept = lines
    assert what.endswith("KeyError: 'pair [red]7[/]'")
    assert kept.startswith(RESUMES)
    assert "--verbose" in kept


def test_an_error_that_explains_itself_stands_alone():
    assert ends(JobStoppedError("Free some disk and go on.")) == (1, ["The job stopped: Free some disk and go on."])


@pytest.mark.parametrize("verbose", [False, True])
def test_a_wrong_request_is_the_command_lines_to_explain(verbose):
    error = UsageError("--out is another job's")
    assert ends(error, verbose=verbose) == (error, [])


@pytest.mark.parametrize("error", [OSError("disk is full"), JobStoppedError("stopped")])
def test_with_verbose_a_crash_shows_its_traceback_too(error):
    code, lines = ends(error, verbose=True)
    assert (code, lines[0]) == (EXIT_CRASH, "Traceback (most recent call last):")
    assert any(line.strip() == "raise error" for line in lines)
    assert f"The job stopped: {error if isinstance(error, JobStoppedError) else f'OSError: {error}'}" in lines
    assert not any("--verbose" in line for line in lines)


@pytest.mark.parametrize("kind", [RuntimeError, JobStoppedError])
def test_no_secret_is_said(kind, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "open-sesame")
    for verbose in (False, True):
        error = kind("open-sesame refused by https://me:hidden@host")
        error.__cause__ = OSError(5, "signed with open-sesame")
        _, lines = ends(error, verbose=verbose)
        assert "open-sesame" not in " ".join(lines)
        assert any(line.endswith("*** refused by https://me:***@host") for line in lines)
        assert any("signed with ***" in line for line in lines) == verbose


def test_an_exit_code_of_the_block_is_left_as_it_is():
    assert ends(SystemExit(3)) == (3, [])


def test_a_cluster_that_ends_a_job_with_sigterm_interrupts_it_as_a_person_does():
    before = signal.getsignal(signal.SIGTERM)
    output = io.StringIO()

    def stopped():
        with exit_on_failure(Console(file=output), "The job", "Progress is saved", verbose=False):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    with pytest.raises(SystemExit) as ended:
        stopped()
    assert ended.value.code == EXIT_INTERRUPTED
    assert "Interrupted." in output.getvalue()
    assert signal.getsignal(signal.SIGTERM) == before
