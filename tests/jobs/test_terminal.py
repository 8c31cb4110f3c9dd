import ast
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.markup import escape
from rich.progress import Progress, TextColumn
from rich.table import Table

from jobs.terminal import Terminal, printable

JOBS = Path(__file__).parents[2] / "jobs"
HOSTILE = "\x1b]0;title\x07\x1b[2J\r\x9b31m\u202egnp.exe\x00"
HARMLESS = r"\x1b]0;title\x07\x1b[2J\r\x9b31m\u202egnp.exe\x00"
# Rich leaves out bells and carriage returns itself.
BY_RICH = HARMLESS.replace(r"\x07", "").replace(r"\r", "")


def shown(*printed: object, **options: object) -> str:
    out = io.StringIO()
    Terminal(file=out, width=200, **options).print(*printed)
    return out.getvalue()


@pytest.mark.parametrize("name", ["東京 夜.png", "ünïcode", "two\nlines", "a\tb", "ideographic\u3000space", ""])
def test_what_only_stands_there_stays_as_it_is(name):
    assert printable(name) == name


def test_what_would_act_is_written_out():
    assert printable(HOSTILE) == HARMLESS
    assert printable("\udcff\u2028\u200f\U000e0001") == r"\udcff\u2028\u200f\U000e0001"


@given(st.text())
def test_nothing_is_left_that_acts(text):
    written = printable(text)
    assert not any(sign < " " or "\x7f" <= sign <= "\x9f" for sign in written.replace("\n", "").replace("\t", ""))
    assert printable(written) == written
    written.encode()


def test_names_in_sentences_tables_and_lines_are_text():
    table = Table("name")
    table.add_row(escape(HOSTILE))
    assert shown(escape(HOSTILE)) == BY_RICH + "\n"
    # A cell is as wide as the name was, and cuts off what its escapes take more.
    assert r"\x1b]0;title\x1b[2J" in shown(table)
    assert "\x1b" not in shown(table)


def test_the_style_of_ours_stays_and_that_of_others_is_text():
    text = f"[bold]{escape('[red]x[/] ' + HOSTILE)}[/]"
    said = shown(text, force_terminal=True, color_system="standard", highlight=False)
    assert said.startswith("\x1b[1m[red]x[/] " + BY_RICH)
    assert said.count("\x1b") == 2


def test_a_line_that_moves_moves():
    out = io.StringIO()
    console = Terminal(file=out, width=200, force_terminal=True)
    with Progress(TextColumn("{task.description}"), console=console, transient=True) as progress:
        progress.add_task(escape(HOSTILE))
    assert r"\x1b]0;title\x1b[2J" in out.getvalue()
    assert "\x1b[2K" in out.getvalue()
    assert "\x1b]0;" not in out.getvalue()


def test_every_job_writes_to_this_terminal():
    """What rich's own console prints is not made printable."""
    for file in JOBS.glob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        names = {call.id for call in calls if isinstance(call, ast.Name)}
        assert not {"Console", "print"} & names, file
