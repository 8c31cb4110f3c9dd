import io

import pytest
from rich.console import Console

from jobs.endings import explained
from pipelines.request import RequestError


def ended_by(error: BaseException, *, verbose: bool = False, **settings: object) -> tuple[int, str]:
    """The exit code and what was said when the block of a job raises."""
    console = Console(file=io.StringIO(), width=60)
    with pytest.raises(SystemExit) as ended, explained(console, "The job", "Kept", verbose=verbose, **settings):
        raise error
    return ended.value.code, console.file.getvalue()


def test_what_goes_well_is_left_alone():
    with explained(Console(file=io.StringIO()), "The job", "Kept", verbose=False):
        pass


def test_a_person_who_stops_a_job_hears_that_it_goes_on():
    assert ended_by(KeyboardInterrupt()) == (130, "\nStopped. Kept; the same command again goes on from there.\n")


def test_a_crash_is_one_sentence_and_what_to_do():
    code, said = ended_by(ValueError("no such thing"))
    assert code == 1
    assert said.splitlines()[1:] == [
        "The job stopped: ValueError: no such thing",
        "Kept; the same command again goes on from there. --verbose shows more.",
    ]


def test_an_error_that_explains_itself_stands_alone():
    code, said = ended_by(ArithmeticError("begin again with a lower rate"), self_explaining=(ArithmeticError,))
    assert (code, said) == (1, "\nThe job stopped: begin again with a lower rate\n")


def test_secrets_are_blanked(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-very-secret-word")
    assert "a-very-secret-word" not in ended_by(ValueError("key a-very-secret-word was refused"))[1]


@pytest.mark.parametrize(("error", "verbose"), [(RequestError("wrong"), False), (ValueError("bug"), True)])
def test_wrong_requests_and_with_verbose_crashes_go_on_to_who_asked(error, verbose):
    with (
        pytest.raises(type(error), match=str(error)),
        explained(Console(file=io.StringIO()), "The job", "Kept", verbose=verbose),
    ):
        raise error
