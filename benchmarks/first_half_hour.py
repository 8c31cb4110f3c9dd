"""What a newcomer waits for, now and before it mattered: one command, and its table.

    python benchmarks/first_half_hour.py --write                  # six minutes on two idle cores
    python benchmarks/first_half_hour.py --before '' --rounds 1   # this checkout alone, once; prints the table

Every figure is the fastest of a few runs of the whole command, from its start to its exit, each in a process and into
a folder of its own; both versions take turns. Where a version refuses a command, its way round is timed instead, if it
had one. Metrics are off, but for `measure`; tracking is on, as it is for a newcomer.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from runtimes import SIZE, draw_archive

CHECKOUT = Path(__file__).resolve().parent.parent
PAGE = CHECKOUT / "docs" / "performance.md"
HEADING = "## The first half hour"
BEFORE = "b3a73dc^"
"""The last commit that refused two files and started Ray for every archive."""

REFUSED = 2  # exit code


@dataclass(frozen=True)
class Case:
    """What is timed; of `commands` the first one that a version does not refuse. OUT is a fresh path."""

    what: str
    commands: tuple[str, ...]


CASES = (
    Case("`upfusion --help`", ("--help",)),
    Case(
        "two images into a third (before: a folder of one pair)",
        ("fuse one/visible/000.png one/infrared/000.png --out OUT.png", "fuse one --out OUT --metrics none"),
    ),
    Case("`upfusion measure` on one pair", ("measure one/visible/000.png one/infrared/000.png fused.png",)),
    *(
        Case(f"{pairs} pairs, {where}", commands)
        for pairs in (12, 100)
        for where, commands in (
            ("in one process", (f"fuse {pairs} --out OUT --metrics none --runner inline",)),
            (
                "on Ray",
                (
                    f"fuse {pairs} --out OUT --metrics none --runner ray",
                    f"fuse {pairs} --out OUT --metrics none --images both",
                ),
            ),
        )
    ),
)


def main() -> None:
    """Time all cases in both versions, and put the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default=BEFORE, help="commit to compare with; '' for none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        versions = {"now": CHECKOUT}
        if given.before:
            versions = {"before": _checked_out(given.before, folder / "before")} | versions
        for images, pairs in (("one", 1), ("12", 12), ("100", 100)):
            draw_archive(folder / images, pairs)
        (folder / "fused.png").write_bytes((folder / "one/visible/000.png").read_bytes())
        rows = [(case.what, *_time(case, versions, folder, given.rounds)) for case in CASES]
    lines = [f"| seconds, whole commands | {' | '.join(versions)} |", "|---" * (len(versions) + 1) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    print("\n".join(lines))
    if given.write:
        PAGE.write_text(_with_section(PAGE.read_text(), lines, given.rounds))


def _time(case: Case, versions: dict[str, Path], folder: Path, rounds: int) -> list[str]:
    """Return the fastest run of each version, as a cell."""
    best: dict[str, float | None] = dict.fromkeys(versions)
    for number in range(rounds):
        for version, checkout in versions.items():
            seconds = _run(case, checkout, folder, f"{version}-{number}")
            if seconds is not None:
                best[version] = min(seconds, best[version] or seconds)
            print(f"{case.what}, {version}: {'refused' if seconds is None else f'{seconds:.1f} s'}", file=sys.stderr)
    return ["not possible" if seconds is None else f"{seconds:.1f}" for seconds in best.values()]


def _run(case: Case, checkout: Path, folder: Path, run: str) -> float | None:
    """Return the seconds of the first command that is not refused; None where all are. Raises on any failure."""
    for command in case.commands:
        out = folder / f"{re.sub(r'[^a-z0-9]+', '-', case.what.lower())}-{run}"
        words = command.replace("OUT", str(out)).split()
        arguments = [sys.executable, "-c", "from jobs.command_line import main; main()", *words]
        began = time.perf_counter()
        ended = subprocess.run(
            arguments, cwd=folder, env=os.environ | {"PYTHONPATH": str(checkout)}, capture_output=True, text=True
        )
        seconds = time.perf_counter() - began
        if ended.returncode == 0:
            return seconds
        if ended.returncode != REFUSED:
            raise RuntimeError(f"{command} in {checkout} ended with {ended.returncode}:\n{ended.stderr[-2000:]}")
    return None


def _checked_out(commit: str, folder: Path) -> Path:
    folder.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=CHECKOUT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "x", "-C", str(folder)], input=archive, check=True)
    return folder


def _with_section(text: str, table: list[str], rounds: int) -> str:
    """Put the section in place of the one that is there, or at the end."""
    intro = (
        f"`python benchmarks/first_half_hour.py --write` on {os.cpu_count()} CPU cores: pairs of {SIZE[0]}x{SIZE[1]}, "
        f"PNG to PNG,\n`tiny`, fastest of {rounds} runs, from start to exit. Before is the last version "
        "that\nrefused two files and started Ray for every archive."
    )
    section = "\n".join([HEADING, "", intro, "", *table, ""])
    there = re.compile(rf"^{HEADING}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if there.search(text):
        return there.sub(lambda _: section + "\n", text).rstrip() + "\n"
    return text.rstrip() + "\n\n" + section


if __name__ == "__main__":
    main()
