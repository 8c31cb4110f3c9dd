import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from infra.stack.processes import Processes, StackError


@pytest.fixture
def processes(tmp_path: Path):
    started = Processes(tmp_path, bound=True)
    yield started
    started.stop()


def test_a_server_ends_with_all_that_it_started(processes: Processes) -> None:
    processes.serve("shell", "sh", "-c", "sleep 60 & sleep 60")
    shell = psutil.Process(processes.started["shell"]["pid"])
    processes.wait("its children", lambda: len(shell.children()) == 2)
    below = shell.children()
    assert processes.runs("shell")
    processes.stop()
    assert not processes.started
    assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in (shell, *below))


def test_what_was_written_down_is_ended_by_another_process_and_nothing_else_is(processes: Processes) -> None:
    processes.serve("sleep", "sleep", "60")
    later = Processes(processes.logs, bound=False)
    later.started = {name: dict(one) for name, one in processes.started.items()}
    # The clock was set by a second.
    later.started["sleep"]["began"] -= 1
    assert later.runs("sleep")
    # The id of another process by now.
    later.started["sleep"]["began"] -= 60
    assert not later.runs("sleep")
    later.stop()
    assert processes.runs("sleep")
    later.started = processes.started
    later.kill("sleep")
    assert not processes.runs("sleep")


def test_a_server_ends_with_whoever_is_killed_who_started_it(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from infra.stack.processes import Processes\n"
        "p = Processes(Path(sys.argv[1]), bound=True); p.serve('sleep', 'sleep', '60')\n"
        "print(p.started['sleep']['pid'], flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        server = psutil.Process(int(starter.stdout.readline()))
        while server.name() != "sleep":  # but setpriv, which has yet to bind itself
            time.sleep(0.01)
        starter.kill()
    gone, _ = psutil.wait_procs([server], timeout=10)
    assert gone


def test_one_that_ends_or_never_answers_says_why(processes: Processes) -> None:
    processes.serve("broken", "sh", "-c", "echo no such port; exit 3")
    with pytest.raises(StackError, match=r"broken(.|\n)*no such port"):
        processes.wait("the store", lambda: False)
    processes.stop()
    began = time.monotonic()
    with pytest.raises(StackError, match=r"the store\b.*\b0 s"):
        processes.wait("the store", lambda: False, seconds=0.1)
    assert time.monotonic() - began < 5
    with pytest.raises(StackError, match=r"\b4\b.*bad"):
        processes.run("sh", "-c", "echo bad; exit 4")
    with pytest.raises(StackError, match="no-such-program"):
        processes.run("no-such-program")
