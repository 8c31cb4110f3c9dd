"""What libraries print is kept off the terminal."""

import io
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from rich.console import Console

from jobs import terminal as module
from jobs.terminal import quiet


def terminal(width: int = 120) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)


def write_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write as Ray's core, a child and Python do."""
    os.write(1, b"from a thread to stdout\n")
    os.write(2, b"from C++\n")
    subprocess.run([sys.executable, "-c", "import os; os.write(2, b'from a child')"], check=True)
    # pytest has put something in its place that does not write to the descriptor.
    monkeypatch.setattr(sys, "stderr", os.fdopen(2, "w", buffering=1, closefd=False))
    sys.stderr.write("from Python\n")


def fail_quietly(act: Callable[[], object]) -> None:
    with quiet(verbose=False):
        act()
        raise RuntimeError("lost")


def test_only_the_console_reaches_the_terminal(capfd, monkeypatch):
    with quiet(verbose=False) as console:
        write_everywhere(monkeypatch)
        console.print("for people")
    os.write(1, b"result\n")
    os.write(2, b"afterwards\n")
    assert capfd.readouterr() == ("result\n", "for people\nafterwards\n")


def test_what_was_said_is_shown_when_the_work_fails(capfd, monkeypatch):
    with pytest.raises(RuntimeError, match="lost"):
        fail_quietly(lambda: write_everywhere(monkeypatch))
    os.write(2, b"afterwards\n")
    said = capfd.readouterr().err
    assert all(words in said for words in ("from C++", "from a child", "from Python"))
    assert said.endswith("afterwards\n")


def test_of_much_that_was_said_the_end_is_shown(capfd, monkeypatch):
    monkeypatch.setattr(module, "CAPTURED_SHOWN", 10)
    with pytest.raises(RuntimeError, match="lost"):
        fail_quietly(lambda: os.write(2, b"\xff" * 100 + b"the reason"))
    assert capfd.readouterr().err == "the reason"


def test_verbose_hides_nothing(capfd):
    with quiet(verbose=True) as console:
        os.write(2, b"from C++\n")
        console.print("for people")
    assert capfd.readouterr().err == "from C++\nfor people\n"
