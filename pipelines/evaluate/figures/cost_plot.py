"""The plot of a metric against the cost of each method."""

import itertools
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import Bbox, BboxBase
from numpy.typing import NDArray

from pipelines.evaluate.figures.figure_style import (
    DPI,
    NOTE_SIZE,
    TEXT_SIZE,
    Look,
    figure_style,
    fitted,
    look,
    metric_label,
    text_width,
)
from upfusion.metrics import METRICS

PLOT_WIDTH, PLOT_HEIGHT, LEFT, BELOW, ABOVE, RIGHT, NOTE_LINE = 4.6, 3.1, 0.9, 0.5, 0.1, 0.15, 0.15  # inches
WIDEST_NAME = 1.5
DISTANCES = (9, 16, 24, 34, 46, 60, 76)  # points between a symbol and its name
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
MARKER, INSET = 7.5, 5  # points


@dataclass(frozen=True)
class Cost:
    """A method's cost (None if unknown) and its mean of a metric (NaN if there is none)."""

    method: str
    cost: float | None
    value: float


@dataclass(frozen=True)
class _Point:
    name: str
    cost: float
    value: float
    look: Look

    @property
    def place(self) -> tuple[float, float]:
        return self.cost, self.value


@figure_style()
def draw_costs(metric: str, costs: Sequence[Cost], unit: str) -> Figure:
    """Draw a metric against cost on a logarithmic axis; methods without a cost are listed below.

    `unit`: the unit of the cost, for the axis label ("milliseconds per megapixel").
    """
    points = list(_points(costs))
    notes = [line for note in _notes(costs) for line in textwrap.wrap(note, 80, break_long_words=False)]
    below = BELOW + NOTE_LINE * len(notes)
    width, height = LEFT + PLOT_WIDTH + RIGHT, ABOVE + PLOT_HEIGHT + below
    figure = Figure(figsize=(width, height))
    place = LEFT / width, below / height, PLOT_WIDTH / width, PLOT_HEIGHT / height
    axes = figure.add_axes(place, xlabel=f"{unit[:1].upper()}{unit[1:]} (logarithmic)", ylabel=metric_label(metric))
    _prepare(axes, points)
    for point in points:
        style: dict[str, Any] = {"markersize": MARKER, "markerfacecolor": point.look.color, "markeredgecolor": "black"}
        axes.plot([point.cost], [point.value], point.look.marker, **style)
    if points:
        _name_points(axes, points, _mark_better_corner(axes, metric))
    for line, note in enumerate(notes, 1):
        figure.text(0.1 / width, (0.06 + (len(notes) - line) * NOTE_LINE) / height, note, size=NOTE_SIZE, color="0.25")
    return figure


def _points(costs: Sequence[Cost]) -> Iterator[_Point]:
    for position, cost in enumerate(costs):
        if cost.cost is not None and 0 < cost.cost < math.inf and math.isfinite(cost.value):
            yield _Point(fitted(cost.method, WIDEST_NAME), cost.cost, cost.value, look(position))


def _notes(costs: Sequence[Cost]) -> Iterator[str]:
    """List the methods that are not drawn, with their values."""
    measured = [cost for cost in costs if math.isfinite(cost.value)]
    groups = {
        "Cost unknown": [cost for cost in measured if cost.cost is None or not math.isfinite(cost.cost)],
        "No cost": [cost for cost in measured if cost.cost is not None and cost.cost <= 0],
    }
    for reason, group in groups.items():
        if group:
            yield f"{reason}: " + ", ".join(f"{fitted(cost.method, WIDEST_NAME)} ({cost.value:.3g})" for cost in group)
    if without := [fitted(cost.method, WIDEST_NAME) for cost in costs if not math.isfinite(cost.value)]:
        yield "No values: " + ", ".join(without)


def _prepare(axes: Axes, points: Sequence[_Point]) -> None:
    """Set the axes' limits, with room for the names, and the ticks."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{cost:,g}"))
    if points:
        costs, values = zip(*(point.place for point in points), strict=True)
        spread = max(max(costs) / min(costs), 10) ** 0.15
        axes.set_xlim(min(costs) / spread, max(costs) * spread)
        room = 0.15 * (max(values) - min(values)) or 0.1 * abs(values[0]) or 1
        axes.set_ylim(min(values) - room, max(values) + room)
    decades = math.log10(axes.get_xlim()[1] / axes.get_xlim()[0])
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if decades > 3 else (1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid()


def _mark_better_corner(axes: Axes, metric: str) -> Bbox:
    """Mark the corner in which a method would be best; return the position of that text in pixels."""
    arrow, low = {True: ("↖ better", False), False: ("↙ better", True), None: ("← cheaper", False)}[
        METRICS[metric].higher_is_better
    ]
    corner = (0, 0) if low else (0, 1)
    axes.annotate(
        arrow,
        corner,
        xycoords="axes fraction",
        xytext=(INSET, INSET if low else -INSET),
        textcoords="offset points",
        va="bottom" if low else "top",
        style="italic",
        color="0.25",
    )
    return _box(axes.transAxes.transform(corner), arrow, INSET, INSET if low else -INSET)


def _name_points(axes: Axes, points: Sequence[_Point], corner: Bbox) -> None:
    """Write every name as near to its symbol as possible without overlaps."""
    at = [axes.transData.transform(point.place) for point in points]
    reach = (MARKER / 2 + 1) * DPI / 72
    taken = [corner, *(Bbox.from_extents(x - reach, y - reach, x + reach, y + reach) for x, y in at)]
    for point, pixel in zip(points, at, strict=True):
        # If no free place is left, the nearest one: an overlap is better than a missing name.
        dx, dy = next(
            (offset for offset in _around() if _is_free(_box(pixel, point.name, *offset), axes.bbox, taken)),
            next(_around()),
        )
        taken.append(_box(pixel, point.name, dx, dy))
        axes.annotate(
            point.name,
            point.place,
            xytext=(dx, dy),
            textcoords="offset points",
            ha=("center", "left", "right")[_sign(dx)],
            va=("center", "bottom", "top")[_sign(dy)],
            arrowprops={"arrowstyle": "-", "color": "0.5", "linewidth": 0.6, "shrinkA": 0, "shrinkB": MARKER / 2}
            if math.hypot(dx, dy) > 1.5 * DISTANCES[0]
            else None,
        )


def _around() -> Iterator[tuple[float, float]]:
    for distance, (right, up) in itertools.product(DISTANCES, DIRECTIONS):
        slanted = 0.7 if right and up else 1
        yield right * distance * slanted, up * distance * slanted


def _is_free(box: Bbox, inside: BboxBase, taken: Sequence[Bbox]) -> bool:
    return bool(
        inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
    ) and not box.count_overlaps(taken)


def _box(point: NDArray[np.float64], text: str, dx: float, dy: float) -> Bbox:
    """The bounding box in pixels of a line of text that starts, ends or is centred (by direction) at a point."""
    width, height = text_width(text) * DPI, 1.25 * TEXT_SIZE * DPI / 72
    left = point[0] + dx * DPI / 72 - width * (0.5, 0, 1)[_sign(dx)]
    bottom = point[1] + dy * DPI / 72 - height * (0.5, 0, 1)[_sign(dy)]
    return Bbox.from_bounds(left, bottom, width, height)


def _sign(number: float) -> int:
    """0, 1 or -1, as an index for the middle, the positive and the negative side."""
    return (number > 0) - (number < 0)
