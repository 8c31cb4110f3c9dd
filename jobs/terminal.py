"""The terminal, on which names and errors that others wrote are only ever text."""

import os
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from pipelines.errors.escaping import printable

LOG_WIDTH = 120
"""Columns where there is no terminal, as in the log of a Ray job; rich would cut tables at 80."""


class Terminal(Console):
    """A console of rich that styles text and passes no command on that stands in it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if not (self.is_terminal or "width" in options or "COLUMNS" in os.environ):
            self.width = LOG_WIDTH

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as rich does, every text made printable."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)
