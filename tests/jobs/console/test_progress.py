import io
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from jobs.console import progress as module
from jobs.console.fuse import NAMES_SHOWN, say_outcome, say_unpaired
from jobs.console.progress import ProgressLine
from jobs.terminal import quiet
from pipelines.archive.schema import Discovery
from pipelines.cluster.execute import Progress
from pipelines.fuse.destination import Destination
from pipelines.fuse.job import Outcome


def shown(*things: Any, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width)
    for thing in things:
        console.print(thing)
    return console.file.getvalue()


def terminal(width: int = 120) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)


# quiet


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
    monkeypatch.setattr(module, "SAID_SHOWN", 10)
    with pytest.raises(RuntimeError, match="lost"):
        fail_quietly(lambda: os.write(2, b"\xff" * 100 + b"the reason"))
    assert capfd.readouterr().err == "the reason"


def test_verbose_hides_nothing(capfd):
    with quiet(verbose=True) as console:
        os.write(2, b"from C++\n")
        console.print("for people")
    assert capfd.readouterr().err == "from C++\nfor people\n"


# ProgressLine


def test_without_a_terminal_a_line_is_said_now_and_then(monkeypatch):
    console = Console(file=io.StringIO(), width=120)
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    with ProgressLine(console) as line:
        for done in range(21):
            line.update(Progress(total=20, done=done, failed=done // 10))
            clock[0] += 2.0
    assert console.file.getvalue().splitlines() == [
        "fused 5 / 20 pairs, 0.50 a second, 0 failed",
        "fused 10 / 20 pairs, 0.50 a second, 1 failed",
        "fused 15 / 20 pairs, 0.50 a second, 1 failed",
        "fused 20 / 20 pairs, 0.50 a second, 2 failed",
    ]


def test_a_line_says_what_is_counted():
    console = Console(file=io.StringIO(), width=120)
    with ProgressLine(console) as line:
        line.update(Progress(total=2, unit="segments"))
        line.update(Progress(total=2, done=2, unit="segments"))
        line.update(Progress(total=1, done=1, unit="recordings"))
    said = console.file.getvalue().splitlines()
    assert [one.split(",")[0] for one in said] == ["fused 2 / 2 segments", "fused 1 / 1 recordings"]


def test_on_a_terminal_one_line_moves():
    console = terminal()
    with ProgressLine(console) as line:
        line.update(Progress(total=20))
        line.update(Progress(total=20, done=5, failed=2))
        line.bar.refresh()
    said = console.file.getvalue()
    assert "5 / 20 pairs" in said
    assert "2 failed" in said
    assert "a second" in said


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_job_that_does_not_move_says_why_on_a_line_that_stays(is_terminal):
    console = terminal(200) if is_terminal else Console(file=io.StringIO(), width=20)
    why = "nothing finished for 40 s: each of 2 workers needs 1 [GPU] on one node"
    with ProgressLine(console) as line:
        line.update(Progress(total=20, done=1, stalled=why))
    assert why in console.file.getvalue()


# say_unpaired


def unpaired(*uris: str) -> Discovery:
    return Discovery(pa.table({}), list(uris))


def test_images_without_a_partner_are_named_as_they_are():
    console = Console(file=io.StringIO(), width=120)
    say_unpaired(console, unpaired("/data/vi/[red]1[/].png", "s3://b/ir/2.png"))
    assert console.file.getvalue().splitlines() == [
        "2 images have no partner and are left out:",
        "  /data/vi/[red]1[/].png",
        "  s3://b/ir/2.png",
    ]


def test_of_many_images_without_a_partner_some_are_named():
    console = Console(file=io.StringIO(), width=120)
    say_unpaired(console, unpaired(*map(str, range(NAMES_SHOWN + 3))))
    said = console.file.getvalue().splitlines()
    assert said[0].startswith(f"{NAMES_SHOWN + 3} images")
    assert said[1 : NAMES_SHOWN + 1] == [f"  {number}" for number in range(NAMES_SHOWN)]
    assert "and 3 more" in said[-1]


def test_nothing_is_said_where_every_image_has_a_partner():
    console = Console(file=io.StringIO())
    say_unpaired(console, unpaired())
    assert console.file.getvalue() == ""


def test_a_long_name_stays_on_its_line():
    console = Console(file=io.StringIO(), width=40)
    say_unpaired(console, unpaired("/data/" + "n" * 100 + " 1.png"))
    assert console.file.getvalue().splitlines()[-1] == "  /data/" + "n" * 100 + " 1.png"


# say_outcome


def outcome(**changed: Any) -> Outcome:
    settings = {"destination": Destination("/out"), "pairs": 10, "ok": 10, "failed": 0, "fused_now": 10, "seconds": 4.0}
    return Outcome(**settings | changed)


def table(**changed: Any) -> dict[str, str]:
    """The rows of the table as {heading: text}."""
    console = Console(file=io.StringIO(), width=120)
    say_outcome(console, outcome(**changed))
    rows = [line.split(maxsplit=1) for line in console.file.getvalue().splitlines()]
    return {row[0]: row[1].strip() for row in rows if len(row) == 2}


def test_an_outcome_says_what_came_out_and_where():
    assert table() == {
        "Result": "10 of 10 pairs fused",
        "Speed": "2.50 pairs a second, start included",
        "Rows": "/out/pairs/*.parquet",
        "Report": "/out/report.html",
    }


def test_an_outcome_says_what_failed_was_there_before_and_was_left_out():
    rows = table(ok=7, failed=3, fused_now=4, unpaired=["x", "y"], tracked="run 1 in http://mlflow")
    assert rows["Result"] == "7 of 10 pairs fused (6 of the pairs were done before), 3 failed"
    assert rows["Left"].startswith("out")
    assert "2 images without a partner" in rows["Left"]
    assert rows["MLflow"] == "run 1 in http://mlflow"
    assert "Speed" not in table(fused_now=0)


def test_an_outcome_of_recordings_counts_segments():
    rows = table(unit="segments", pairs=12, fused_now=4)
    assert rows["Result"] == "10 of 12 segments fused (8 of the segments were done before)"
    assert rows["Speed"] == "1.00 segments a second, start included"


def test_an_outcome_shows_every_metric_with_its_name():
    numbers = {"mean": 0.5, "p5": 0.25, "p50": 0.5554, "p95": 1.0}
    assert table(aggregates={"vif": numbers})["vif"].split(maxsplit=4) == [
        "0.500", "0.250", "0.555", "1.000", "Visual information fidelity",
    ]  # fmt: skip


def test_places_are_shown_as_they_are_on_one_line():
    long = "n" * 100
    rows = table(destination=Destination(f"/out/[bold]{long}[/bold]"), tracked="run 1 in sqlite:////[x]/mlflow.db")
    assert rows["Rows"] == f"/out/[bold]{long}[/bold]/pairs/*.parquet"
    assert rows["Report"] == f"/out/[bold]{long}[/bold]/report.html"
    assert rows["MLflow"] == "run 1 in sqlite:////[x]/mlflow.db"
