"""Small multiples: one panel per set, each with the same methods from top to bottom and its own axis."""

import math
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.evaluate.figures.figure_style import NOTE_SIZE, fitted, text_width

MOST_COLUMNS = 4
ROW, LOWEST_PANEL, PANEL, LONE_PANEL, WIDEST_NAMES = 0.23, 0.6, 2.35, 4.2, 1.9  # inches
SIDE, TITLE, TICKS, LABEL_LINE, NOTE_LINE = 0.18, 0.28, 0.27, 0.14, 0.13


def draw_panels(sets: Iterable[tuple[str, str]], methods: Sequence[str], label: str, note: str) -> Figure:
    """Draw the empty panels of a figure, within `figure_style`; its axes are those of the sets, in order.

    `sets`: the name of each, which may be shortened, and the text after it. Method number i has y = i. Raises
    ValueError without a set or a method.
    """
    titles = list(sets)
    if not titles or not methods:
        raise ValueError(f"Expected at least one set and one method, got {len(titles)} and {len(methods)}")
    lines = math.ceil(len(titles) / MOST_COLUMNS)
    columns = math.ceil(len(titles) / lines)
    names = [fitted(method, WIDEST_NAMES) for method in methods]
    width, height = LONE_PANEL if columns == 1 else PANEL, max(LOWEST_PANEL, ROW * len(methods))
    left, below = max(map(text_width, names)) + 2 * SIDE, LABEL_LINE * _lines(label) + NOTE_LINE * _lines(note) + SIDE
    size = left + columns * (width + SIDE), lines * (TITLE + height + TICKS) + below
    figure = Figure(figsize=size)
    for number, (name, behind) in enumerate(titles):
        line, column = divmod(number, columns)
        bottom = size[1] - (line + 1) * (TITLE + height + TICKS) + TICKS
        place = (left + column * (width + SIDE)) / size[0], bottom / size[1], width / size[0], height / size[1]
        axes = _panel(figure, place, names if column == 0 else [""] * len(names), round(2.2 * width))
        kept = fitted(name, width - text_width(behind))
        axes.set_title(f"{kept} {behind}".strip(), loc="left")
        if number + columns >= len(titles):
            axes.set_xlabel(label)
    figure.text(SIDE / size[0], SIDE / 2 / size[1], note, size=NOTE_SIZE, color="0.25", va="bottom")
    return figure


def write_in_row(axes: Axes, row: int, text: str) -> None:
    """Write why a method has nothing in a panel, in place of its data."""
    axes.text(
        0.02, row, text, transform=axes.get_yaxis_transform(), size=NOTE_SIZE, color="0.35", style="italic", va="center"
    )


def _lines(text: str) -> int:
    return text.count("\n") + 1


def _panel(figure: Figure, place: tuple[float, float, float, float], names: list[str], ticks: int) -> Axes:
    axes = figure.add_axes(place)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    axes.grid(axis="x")
    # Shade every second row, to guide the eye through the panels.
    for row in range(1, len(names), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="0.965", linewidth=0, zorder=0)
    axes.tick_params(axis="y", length=0)
    return axes
