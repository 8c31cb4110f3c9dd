"""What a whole run of the tests counted, told at its end: faults, kills, what they cost, which store was used."""

from collections import Counter
from typing import Any

import pytest

COUNTED: Counter[str] = Counter()
LINES: list[str] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where tests run in several processes, hand over what this one counted."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output |= {"counted": dict(COUNTED), "lines": LINES}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:  # noqa: ARG001  # the names that pytest-xdist looks for
    """Take what a process counted that has ended."""
    output = getattr(node, "workeroutput", {})
    COUNTED.update(output.get("counted", {}))
    LINES.extend(output.get("lines", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell it."""
    for line in LINES:
        terminalreporter.write_line(line, yellow=line.startswith("WARNING"))
    if COUNTED:
        terminalreporter.section("tally")
        width = max(map(len, COUNTED))
        for name, count in sorted(COUNTED.items()):
            terminalreporter.write_line(f"{name:{width}} {count:8}")
