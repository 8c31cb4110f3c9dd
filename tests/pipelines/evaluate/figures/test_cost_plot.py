import math

import numpy as np
import pytest

from pipelines.evaluate.figures.cost_plot import Cost, draw_costs

from .drawn import overlapping, placed_texts, texts

UNIT = "milliseconds per megapixel"
CROWD = [
    Cost("tiny", 1960, 0.564),
    Cost("SAGE", 3250, 0.457),
    Cost("ALMFnet", 2600, 0.46),
    Cost("EMMA", 7100, 0.45),
    Cost("CDDFuse", 166000, 0.5),
    Cost("mean", 2, 0.398),
    Cost("max", 2.1, 0.405),
    Cost("IGNet", 2900, 0.463),
    Cost("SeAFusion", 2950, 0.461),
    Cost("a very long name " * 12, 3000, 0.459),
    Cost("$U_2$<Fusion>", 2000, 0.56),
    Cost("top", 1.5, 0.57),
]


def points(figure) -> dict[str, tuple[float, float]]:
    return {line.get_marker(): tuple(line.get_xydata()[0]) for line in figure.axes[0].lines}


def test_every_method_has_a_point_and_a_name():
    figure = draw_costs("vif", CROWD[:3], UNIT)
    assert list(points(figure).values()) == [(1960, 0.564), (3250, 0.457), (2600, 0.46)]
    assert figure.axes[0].get_xscale() == "log"
    shown = texts(figure)
    assert {"tiny", "SAGE", "ALMFnet", "Visual information fidelity", "(higher is better)"} <= set(shown)
    assert "Milliseconds per megapixel (logarithmic)" in shown
    assert "2,000" in shown


def test_twelve_methods_differ_without_colour():
    assert len(points(draw_costs("vif", CROWD, UNIT))) == 12


def test_names_in_a_crowd_lie_over_nothing():
    figure = draw_costs("vif", CROWD, UNIT)
    assert not overlapping(figure)
    symbols = figure.axes[0].transData.transform([tuple(point) for point in points(figure).values()])
    for text, box in placed_texts(figure):
        assert not any(box.contains(*symbol) for symbol in symbols), text


def test_a_name_lies_near_its_symbol():
    figure = draw_costs("vif", CROWD, UNIT)
    boxes = dict(placed_texts(figure))
    for text in figure.axes[0].texts[1:]:
        box = boxes[text.get_text()]
        x, y = figure.axes[0].transData.transform(text.xy)
        apart = math.hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1))
        assert apart < 180, text.get_text()
        assert apart < 40 or text.arrow_patch is not None, text.get_text()


@pytest.mark.parametrize(("metric", "words", "low"), [("vif", "↖ better", False), ("nabf", "↙ better", True)])
def test_the_better_corner_is_marked(metric, words, low):
    axes = draw_costs(metric, CROWD[:3], UNIT).axes[0]
    (corner,) = [text for text in axes.texts if text.get_text() == words]
    assert corner.xy == (0, 0 if low else 1)


def test_methods_without_a_place_are_named_below():
    others = [Cost("U2Fusion", None, 0.42), Cost("copy", 0, 0.6), Cost("DCEvo", 5, math.nan), Cost("X", math.inf, 1)]
    shown = texts(draw_costs("vif", [*CROWD[:2], *others], UNIT))
    assert {"Cost unknown: U2Fusion (0.42), X (1)", "No cost: copy (0.6)", "No values: DCEvo"} <= set(shown)


@pytest.mark.parametrize("costs", [[], [Cost("x", None, 0.4)], [Cost("x", 3, 0.4)], [Cost("x", 3, 0), Cost("y", 3, 0)]])
def test_few_or_no_points_are_a_figure_too(costs):
    figure = draw_costs("vif", costs, "GFLOP per megapixel")
    assert "GFLOP per megapixel (logarithmic)" in texts(figure)
    assert len(figure.axes[0].lines) == sum(cost.cost is not None for cost in costs)
    assert not overlapping(figure)


def test_many_methods_without_a_cost_are_all_named():
    figure = draw_costs("vif", [Cost(f"method {number}", None, 0.4) for number in range(30)], UNIT)
    shown = " ".join(texts(figure))
    assert all(f"method {number} (0.4)" in shown for number in range(30))
    assert not overlapping(figure)


def test_values_span_the_plot():
    axes = draw_costs("vif", CROWD, UNIT).axes[0]
    low, high = axes.get_ylim()
    assert low < 0.398
    assert high > 0.57
    assert np.diff(axes.get_ylim())[0] < 0.3
