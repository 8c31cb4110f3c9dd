import ast
import io
from pathlib import Path

from rich.markup import escape
from rich.progress import Progress, TextColumn
from rich.table import Table

from jobs.terminal import Terminal

JOBS = Path(__file__).parents[2] / "jobs"
HOSTILE = "\x1b]0;title\x07\x1b[2J\r\x9b31m\u202egnp.exe\x00"
HARMLESS = r"\x1b]0;title\x07\x1b[2J\r\x9b31m\u202egnp.exe\x00"
# Rich leaves out bells and carriage returns itself.
BY_RICH = HARMLESS.replace(r"\x07", "").replace(r"\r", "")


def shown(*printed: object, **options: object) -> str:
    out = io.StringIO()
    Terminal(file=out, width=200, **options).print(*printed)
    return out.getvalue()


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
