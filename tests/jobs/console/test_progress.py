import io

import pytest
from rich.console import Console

from jobs.console import progress as module
from jobs.console.progress import ProgressLine
from pipelines.cluster.runner import Progress


def terminal(width: int = 120) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)


def test_without_a_terminal_a_line_is_said_now_and_then(monkeypatch):
    console = Console(file=io.StringIO(), width=120)
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    with ProgressLine(console) as line:
        for done in range(21):
            line.update(Progress(total=20, done=done, failed=done // 10))
            clock[0] += 2.0
    assert console.file.getvalue().splitlines() == [
        "fused 5 / 20 pairs, 0.50/s, 0 failed",
        "fused 10 / 20 pairs, 0.50/s, 1 failed",
        "fused 15 / 20 pairs, 0.50/s, 1 failed",
        "fused 20 / 20 pairs, 0.50/s, 2 failed",
    ]


def test_a_line_says_what_is_counted():
    console = Console(file=io.StringIO(), width=120)
    with ProgressLine(console) as line:
        line.update(Progress(total=2, unit="segments"))
        line.update(Progress(total=2, done=2, unit="segments"))
        line.update(Progress(total=1, done=1, unit="recordings", doing="joining"))
        line.update(Progress(total=1, done=1))
    lines = [one.split(",")[0] for one in console.file.getvalue().splitlines()]
    assert lines == ["fused 2 / 2 segments", "joining recordings: 1 of 1", "fused 1 / 1 pair"]


def test_on_a_terminal_the_line_says_what_is_done():
    console = terminal()
    with ProgressLine(console) as line:
        line.update(Progress(total=40, done=12, unit="recordings", doing="cutting"))
        line.bar.refresh()
        line.update(Progress(total=80, done=3, unit="segments"))
        line.bar.refresh()
    cutting, _, fusing = console.file.getvalue().rpartition("fusing")
    assert "cutting" in cutting
    assert "12 / 40 recordings" in cutting
    assert "3 / 80 segments" in fusing


def test_on_a_terminal_one_line_moves():
    console = terminal()
    with ProgressLine(console) as line:
        line.update(Progress(total=20))
        line.update(Progress(total=20, done=5, failed=2))
        line.bar.refresh()
    said = console.file.getvalue()
    assert "5 / 20 pairs" in said
    assert "2 failed" in said
    assert "/s" in said


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_job_that_does_not_move_says_why_on_a_line_that_stays(is_terminal):
    console = terminal(200) if is_terminal else Console(file=io.StringIO(), width=20)
    why = "nothing finished for 40 s: each of 2 workers needs 1 [GPU] on one node"
    with ProgressLine(console) as line:
        line.update(Progress(total=20, done=1, stalled=why))
    assert why in console.file.getvalue()
