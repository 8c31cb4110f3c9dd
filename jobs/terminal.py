"""The terminal: untrusted text is escaped, and the output of libraries is suppressed."""

import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from pipelines.errors.escaping import printable
from pipelines.errors.exceptions import JobStoppedError, UsageError
from pipelines.storage import objects as storage

LOG_WIDTH = 120
"""Columns without a terminal, as in the log of a Ray job; rich would cut tables at 80."""

CAPTURED_SHOWN = 4000  # characters
COLOUR = re.compile(r"\x1b\[[\d;]*m")


class Terminal(Console):
    """A rich console that escapes control characters in everything it prints."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if not (self.is_terminal or "width" in options or "COLUMNS" in os.environ):
            self.width = LOG_WIDTH

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as rich does, with every text escaped."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


@contextmanager
def quiet(verbose: bool) -> Iterator[Console]:
    """Yield a console on the terminal while all other output of this process goes to a file.

    Ray's core and database migrations write from C++ and from threads, bypassing all logging settings. The output
    is shown if the block fails.
    """
    if verbose:
        yield Terminal(stderr=True)
        return
    with (
        tempfile.TemporaryFile("w+b") as captured,
        os.fdopen(os.dup(1), "w", encoding="utf-8") as output,
        os.fdopen(os.dup(2), "w", encoding="utf-8") as terminal,
    ):
        _point_streams_at(captured.fileno(), captured.fileno())
        try:
            yield Terminal(file=terminal)
        except (UsageError, JobStoppedError):
            raise
        except Exception:
            captured.seek(0)
            tail = COLOUR.sub("", captured.read().decode(errors="replace"))[-CAPTURED_SHOWN:]
            terminal.write(printable(storage.redact(tail)))
            raise
        finally:
            _point_streams_at(output.fileno(), terminal.fileno())


def _point_streams_at(output: int, errors: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(output, 1)
    os.dup2(errors, 2)
