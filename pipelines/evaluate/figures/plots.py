"""Figures of a comparison: distributions of a metric, and differences to a reference."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipelines.evaluate.figures.figure_panels import draw_panels, write_in_row
from pipelines.evaluate.figures.figure_style import figure_style, fitted, look, metric_label
from upfusion.counted import counted
from upfusion.metrics import METRICS

FEWEST_FOR_A_BOX = 5
MOST_POINTS = 30  # shown as single dots
WIDEST_REFERENCE = 1.5  # inches; keeps an axis label within its panel

Values = NDArray[np.floating]


@dataclass(frozen=True)
class Effect:
    """A method's mean paired difference to the reference and its 95 % interval; NaN if there is none."""

    method: str
    difference: float
    low: float
    high: float


@figure_style()
def draw_distributions(metric: str, values: Mapping[str, Mapping[str, Values]]) -> Figure:
    """Draw one panel per set with one box plot per method, or only dots if there are few pairs.

    `values`: by set and method, the metric of every pair, `(N,)`; non-finite values are dropped. Raises ValueError
    without a set or a method.
    """
    finite = {
        name: {method: array[np.isfinite(array)] for method, array in of_set.items()} for name, of_set in values.items()
    }
    methods = _in_order(finite.values())
    note = (
        "Box: quartiles and median. Whiskers: 5th to 95th percentile. Symbol: mean.\n"
        f"Dots: the pairs; of more than {MOST_POINTS}, the lowest and the highest."
    )
    sets = [(name, f"({_pairs(of_set.values())})") for name, of_set in finite.items()]
    figure = draw_panels(sets, methods, metric_label(metric), note)
    for axes, of_set in zip(figure.axes, finite.values(), strict=True):
        for row, method in enumerate(methods):
            _draw_distribution(axes, row, of_set.get(method, np.empty(0)))
        axes.margins(x=0.06)
        if not axes.lines:
            axes.set_xticks([])
    return figure


@figure_style()
def draw_effects(metric: str, reference: str, effects: Mapping[str, Sequence[Effect]]) -> Figure:
    """Draw one panel per set with each method's difference to the reference and its interval (a forest plot).

    Raises ValueError without a set or a method.
    """
    by_set = [{effect.method: effect for effect in of_set} for of_set in effects.values()]
    methods = _in_order(by_set)
    side = {True: "right is better", False: "left is better", None: "neither side is better"}
    better = side[METRICS[metric].higher_is_better]
    label = f"{METRICS[metric].title},\ndifference to {fitted(reference, WIDEST_REFERENCE)}\n({better})"
    note = "Mean of the paired differences and its 95 % interval.\nFilled: the interval leaves out zero."
    figure = draw_panels([(name, "") for name in effects], methods, label, note)
    for axes, of_set in zip(figure.axes, by_set, strict=True):
        axes.axvline(0, color="black", linewidth=0.9, linestyle="--", zorder=1)
        for row, method in enumerate(methods):
            _draw_effect(axes, row, of_set.get(method))
        axes.margins(x=0.08)
    return figure


def _in_order(sets: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(method for of_set in sets for method in of_set))


def _pairs(arrays: Iterable[Values]) -> str:
    """Return the number of pairs of the methods that have any, as text."""
    counts = {len(array) for array in arrays} - {0}
    if not counts:
        return "no pairs"
    least, most = min(counts), max(counts)
    return counted(most, "pair") if least == most else f"{least:,} to {most:,} pairs"


def _draw_distribution(axes: Axes, row: int, values: Values) -> None:
    if not values.size:
        write_in_row(axes, row, "no values")
        return
    if values.size >= FEWEST_FOR_A_BOX:
        _draw_box(axes, row, values)
    dots = values if values.size <= MOST_POINTS else np.array([values.min(), values.max()])
    # Deterministic jitter.
    aside = np.random.default_rng(row).uniform(-0.24, 0.24, dots.size) if dots.size > 2 else np.zeros(dots.size)
    axes.plot(dots, row + aside, ".", color="0.15", alpha=0.75, markersize=3.5, markeredgewidth=0, zorder=3)
    _draw_symbol(axes, row, float(values.mean()), filled=False)


def _draw_box(axes: Axes, row: int, values: Values) -> None:
    thin = {"color": "0.2", "linewidth": 0.8}
    drawn = axes.boxplot(
        [values],
        positions=[row],
        orientation="horizontal",
        widths=0.62,
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        manage_ticks=False,
        whiskerprops=thin,
        capprops=thin,
        medianprops={"color": "black", "linewidth": 1.8},
    )
    pale = tuple(0.4 * channel + 0.6 for channel in to_rgb(look(row).color))
    drawn["boxes"][0].set(facecolor=pale, edgecolor="0.25", hatch=look(row).hatch, linewidth=0.8)


def _draw_effect(axes: Axes, row: int, effect: Effect | None) -> None:
    if effect is None or not math.isfinite(effect.difference):
        write_in_row(axes, row, "no values")
        return
    if math.isfinite(effect.low) and math.isfinite(effect.high):
        axes.plot([effect.low, effect.high], [row, row], "|-", color="0.2", linewidth=1.3, markersize=6, zorder=2)
    _draw_symbol(axes, row, effect.difference, filled=effect.low > 0 or effect.high < 0)


def _draw_symbol(axes: Axes, row: int, value: float, *, filled: bool) -> None:
    face = look(row).color if filled else "white"
    axes.plot([value], [row], look(row).marker, markersize=5.5, markerfacecolor=face, markeredgecolor="black", zorder=4)
