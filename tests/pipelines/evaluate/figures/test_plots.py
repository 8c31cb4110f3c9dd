import re

import numpy as np
import pytest
from matplotlib.patches import PathPatch

from pipelines.evaluate.figures.plots import Effect, draw_distributions, draw_effects

from .drawn import grey, overlapping, texts
from .test_figure_files import STRANGE

METHODS = ["tiny", "SAGE", "ALMFnet", "IGNet", "TDFusion", "mean", "max", "U2Fusion", "DCEvo", "PIAFusion", "a", "b"]


def values(pairs: int, methods: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(pairs)
    return {method: rng.normal(0.4 + 0.03 * place, 0.05, pairs) for place, method in enumerate(METHODS[:methods])}


def boxes(axes):
    return [patch for patch in axes.patches if isinstance(patch, PathPatch)]


def dots(axes, row: int) -> list[float]:
    """What is shown pair by pair in a row."""
    lines = [line for line in axes.lines if line.get_marker() == "."]
    return sorted(x for line in lines for x, y in line.get_xydata() if round(y) == row)


def means(axes) -> dict[int, tuple[float, str]]:
    lines = [line for line in axes.lines if line.get_marker() not in (".", "None", "|")]
    return {round(y): (x, line.get_marker()) for line in lines for x, y in line.get_xydata()}


def test_every_method_set_and_the_metric_are_named():
    shown = texts(draw_distributions("nabf", {"MSRS": values(21), "TNO": values(1)}))
    assert {"tiny", "SAGE", "ALMFnet", "MSRS (21 pairs)", "TNO (1 pair)", "Artifacts", "(lower is better)"} <= set(
        shown
    )
    assert shown.count("Artifacts") == 2, "a label below each panel"


def test_a_box_shows_quartiles_median_and_mean():
    of_set = values(200)
    (axes,) = draw_distributions("vif", {"s": of_set}).axes
    for row, (box, array) in enumerate(zip(boxes(axes), of_set.values(), strict=True)):
        corners = box.get_path().vertices[:, 0]
        np.testing.assert_allclose((corners.min(), corners.max()), np.percentile(array, (25, 75)))
        assert means(axes)[row][0] == pytest.approx(array.mean())
        assert dots(axes, row) == [array.min(), array.max()]
        medians = [line for line in axes.lines if len(set(line.get_xdata())) == 1 and line.get_linewidth() > 1.5]
        assert medians[row].get_xdata()[0] == pytest.approx(np.median(array))


def test_few_pairs_are_shown_one_by_one():
    of_set = values(21)
    (axes,) = draw_distributions("vif", {"s": of_set}).axes
    np.testing.assert_allclose(dots(axes, 1), np.sort(of_set["SAGE"]))
    assert len(boxes(axes)) == 3
    (axes,) = draw_distributions("vif", {"s": values(4)}).axes
    assert not boxes(axes)
    assert len(dots(axes, 0)) == 4


def test_methods_stand_on_the_same_rows_of_every_panel():
    figure = draw_distributions("vif", {"s": {"x": np.array([1.0]), "y": np.array([2.0])}, "t": {"y": np.array([3.0])}})
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["x", "y"]
    assert means(figure.axes[1]).keys() == {1}
    assert means(figure.axes[1])[1][1] == means(figure.axes[0])[1][1]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1


def test_what_has_no_values_says_so():
    nothing = np.array([np.nan, np.inf])
    figure = draw_distributions("vif", {"s": values(8) | {"x": nothing, "y": np.array([])}, "t": {"x": nothing}})
    shown = texts(figure)
    assert shown.count("no values") == 2 + 5
    assert {"s (8 pairs)", "t (no pairs)"} <= set(shown)
    assert not figure.axes[1].get_xticks().size


def test_a_panel_says_how_many_pairs_its_methods_have():
    assert "s (8 to 3,463 pairs)" in texts(draw_distributions("vif", {"s": {"x": np.ones(8), "y": np.ones(3463)}}))


def test_boxes_differ_without_colour():
    (axes,) = draw_distributions("vif", {"s": values(50, 12)}).axes
    symbols = [marker for _, (_, marker) in sorted(means(axes).items())]
    assert len(set(symbols)) == 12
    assert len({box.get_hatch() for box in boxes(axes)}) == 7


def test_sixteen_sets_of_twelve_methods_have_room():
    figure = draw_distributions("ms_ssim", {f"set {number}": values(40, 12) for number in range(16)})
    assert len(figure.axes) == 16
    assert not overlapping(figure)
    assert figure.bbox.width < 2000


@pytest.mark.parametrize("sets", [1, 2, 5])
def test_long_names_have_room(sets):
    long = {f"{number} {'Wide name ' * 20} {number}": values(5)["tiny"] for number in range(3)}
    figure = draw_distributions("qcb", {f"{number} {'long set ' * 25}": long for number in range(sets)})
    assert not overlapping(figure)
    assert {"0", "1", "2"} <= {text[-1] for text in texts(figure) if "Wide name" in text}


def test_any_name_is_shown_as_it_is():
    shown = texts(draw_distributions("vif", {"$s_1$": {STRANGE: np.ones(3)}}))
    assert "$s_1$ (3 pairs)" in shown
    assert texts(draw_distributions("vif", {"s": {"<b> & $x_1$": np.ones(3)}})).count("<b> & $x_1$") == 1


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match=r"\b0\b.*\b0\b"):
        draw_distributions("vif", {})
    with pytest.raises(ValueError, match="got 1 and 0"):
        draw_effects("vif", "tiny", {"s": []})


def test_an_effect_has_its_interval_beside_zero():
    effects = [Effect("SAGE", -0.1, -0.15, -0.05), Effect("mean", 0.01, -0.02, 0.04)]
    figure = draw_effects("vif", "tiny", {"MSRS": effects})
    (axes,) = figure.axes
    intervals = [line for line in axes.lines if line.get_marker() == "|"]
    assert [list(line.get_xdata()) for line in intervals] == [[-0.15, -0.05], [-0.02, 0.04]]
    assert {row: x for row, (x, _) in means(axes).items()} == {0: -0.1, 1: 0.01}
    (zero,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert list(zero.get_xdata()) == [0, 0]
    shown = texts(figure)
    assert {"SAGE", "mean", "MSRS", "difference to tiny", "(right is better)"} <= set(shown)
    assert "Visual information fidelity," in shown


def test_an_effect_is_filled_only_where_its_interval_leaves_out_zero():
    effects = [Effect("x", -2, -3, -1), Effect("y", 0, -1, 1), Effect("z", 2, 1, 3), Effect("w", 2, np.nan, np.nan)]
    (axes,) = draw_effects("vif", "tiny", {"s": effects}).axes
    faces = [line.get_markerfacecolor() for line in axes.lines if line.get_marker() in "os^D"]
    assert [face == "white" for face in faces] == [False, True, False, True]


def test_an_effect_that_is_not_known_says_so():
    effects = {"s": [Effect("x", 1, 0, 2), Effect("y", np.nan, np.nan, np.nan)], "t": [Effect("x", 1, 0, 2)]}
    shown = texts(draw_effects("nabf", "$tiny$ " * 30, effects))
    assert "(left is better)" in shown
    assert shown.count("no values") == 2
    assert any(re.fullmatch(r"difference to \$tiny\$.*….*\$tiny\$", text) for text in shown)


def test_effects_have_room():
    of_set = [Effect(f"{'long name ' * 20}{number}", 0.1, -0.1, 0.3) for number in range(12)]
    figure = draw_effects("ms_ssim", "tiny " * 50, {f"{'set ' * 50}{number}": of_set for number in range(7)})
    assert not overlapping(figure)


def test_a_figure_is_readable_in_grey():
    pixels = grey(draw_distributions("vif", {"s": values(50)}))
    assert pixels.min() < 40
    assert (pixels > 230).mean() > 0.7
