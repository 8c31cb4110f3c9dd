import math

import numpy as np
import pytest

from pipelines.evaluate.figures.contact_sheet import SheetRow, choose_pairs, draw_contact_sheet, most_differing
from pipelines.evaluate.figures.figure_files import render_png, render_svg

from .drawn import overlapping, picture, texts
from .test_figure_files import STRANGE


def flat(level: int, height: int = 60, width: int = 100, dtype: type = np.uint8) -> np.ndarray:
    return np.full((height, width), level, dtype)


def noise(seed: int, shape: tuple[int, ...] = (60, 100)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def planted(top: int, left: int, height: int = 12, width: int = 20) -> np.ndarray:
    image = flat(100)
    image[top : top + height, left : left + width] = 200
    return image


def row(methods: dict[str, np.ndarray], pair_id: str = "pair") -> SheetRow:
    return SheetRow(pair_id, {"A": flat(10), "B": flat(250), **methods})


def shown(figure, number: int) -> np.ndarray:
    return np.asarray(figure.axes[number].images[0].get_array())


@pytest.mark.parametrize(("top", "left"), [(0, 0), (17, 33), (48, 80), (0, 80)])
def test_the_place_is_where_methods_differ(top, left):
    found = most_differing({"x": planted(top, left), "y": flat(100), "z": flat(100)})
    # At an edge, where a neighbourhood is mirrored, it may be a few pixels off.
    assert found == pytest.approx((top, left, 12, 20), abs=4)


def test_sources_and_their_copies_do_not_count():
    images = {"A": planted(0, 0), "B": flat(0), "a": planted(0, 0), "b": flat(0), "x": planted(30, 50), "y": flat(100)}
    assert most_differing(images) == (30, 50, 12, 20)


def test_a_wide_small_difference_outweighs_a_single_pixel():
    image = planted(30, 50)
    image[5, 5] = 255
    assert most_differing({"x": image, "y": flat(100)})[:2] == (30, 50)


def test_luma_counts_whatever_the_depth_and_the_colour():
    deep = np.repeat(planted(17, 33)[..., None], 3, axis=2).astype(np.uint16) * 257
    assert most_differing({"x": deep, "y": flat(100)})[:2] == (17, 33)


@pytest.mark.parametrize(
    "methods", [{}, {"x": noise(1)}, {"x": noise(1), "y": noise(1), "z": noise(1)}, {"x": noise(1), "a": noise(2)}]
)
def test_methods_that_do_not_differ_give_the_centre(methods):
    assert most_differing(row(methods).images) == (24, 40, 12, 20)


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (5, 400)])
def test_tiny_images_have_a_place(size):
    top, left, height, width = most_differing({"x": noise(1, size), "y": noise(2, size)})
    assert height >= 1
    assert width >= 1
    assert top + height <= size[0]
    assert left + width <= size[1]


def test_images_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match="size"):
        most_differing({"A": flat(1), "x": flat(1, 61)})


def test_the_pairs_with_the_widest_spread_come_first():
    assert choose_pairs({"d": 1, "a": 2, "c": 3, "b": 2, "e": math.nan}, 4) == ["c", "a", "b", "d"]
    assert choose_pairs({"e": math.nan, "a": -1}, 5) == ["a", "e"]


def test_columns_rows_and_title_are_named():
    figure = draw_contact_sheet("Night", [row({"x": noise(1), "mean": noise(2)}, "p1"), row({"x": noise(1)}, "p2")])
    assert {"Night", "source A", "source B", "x", "mean", "p1", "p2"} <= set(texts(figure))


def test_a_method_that_a_row_lacks_says_so_in_its_place():
    figure = draw_contact_sheet("t", [row({"x": noise(1), "y": noise(2)}), row({"y": noise(2)})])
    (absent,) = [axes for axes in figure.axes if not axes.images]
    assert [text.get_text() for text in absent.texts] == ["no image"]
    x_of_first = figure.axes[4]  # A, its place, B, its place, x
    assert absent.get_position().x0 == pytest.approx(x_of_first.get_position().x0)
    assert absent.get_position().y0 < x_of_first.get_position().y0


def test_below_each_image_is_its_framed_place():
    image = planted(17, 33)
    figure = draw_contact_sheet("t", [row({"x": image, "y": flat(100)})])
    panel, enlarged = figure.axes[4:6]
    assert {patch.get_bbox().bounds for patch in panel.patches} == {(33, 17, 20, 12)}
    assert {patch.get_edgecolor()[:3] for patch in panel.patches} == {(0, 0, 0), (1, 1, 1)}
    assert (shown(figure, 5) == 200).all()
    assert enlarged.get_position().y1 < panel.get_position().y0
    assert enlarged.get_position().width == pytest.approx(panel.get_position().width, rel=0.01)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_the_frame_stands_out_from_any_picture(level):
    figure = draw_contact_sheet("t", [row({"x": planted(17, 33), "y": flat(100)} | {"z": flat(level)})])
    pixels = np.asarray(picture(figure).convert("L"))
    panel = figure.axes[8]
    box = panel.get_window_extent()
    inside = pixels[::-1][int(box.y0) + 4 : int(box.y1) - 4, int(box.x0) + 4 : int(box.x1) - 4]
    assert abs(inside.astype(int) - level).max() > 100


def test_pictures_keep_their_pixels():
    image = noise(3, (60, 100, 3))
    figure = draw_contact_sheet("t", [SheetRow("p", {"A": image, "B": flat(77), "x": image})])
    pixels = np.asarray(picture(figure))
    for number, axes in ((0, figure.axes[0]), (2, figure.axes[2])):
        box = axes.get_window_extent()
        left, top = round(box.x0), round(pixels.shape[0] - box.y1)
        expected = shown(figure, number)
        drawn = pixels[top : top + expected.shape[0], left : left + expected.shape[1]]
        if expected.ndim == 2:
            expected = np.repeat(expected[..., None], 3, axis=2)
        assert (drawn == expected).all(axis=-1).mean() > 0.8  # the frame lies over the rest


def test_grey_images_stay_grey_and_16_bits_become_8():
    figure = draw_contact_sheet("t", [row({"x": flat(40000, dtype=np.uint16), "y": noise(1)})])
    assert (shown(figure, 4) == 156).all()
    assert picture(figure).mode == "L"


def test_twelve_columns_of_large_colour_images_stay_small():
    images = {name: noise(number, (240, 320, 3)) for number, name in enumerate(["A", "B", *"cdefghijkl"])}
    figure = draw_contact_sheet("t", [SheetRow("p", images)])
    assert 2000 < figure.bbox.width < 2500
    assert len(render_svg(figure)) < 3e6  # of noise, which nothing compresses
    # Twelve panels as wide as they may be would have 4e6.
    tall = draw_contact_sheet("t", [SheetRow(f"p{number}", {"x": images["A"]}) for number in range(12)])
    assert sum(np.prod(axes.images[0].get_size()) for axes in tall.axes) < 3e6


def test_long_names_lie_over_nothing():
    methods = {f"{number} {'long $name_1$ ' * 20}{number}": noise(number) for number in range(10)}
    rows = [row(methods, f"{number} {'long pair ' * 40}{number}") for number in range(2)]
    figure = draw_contact_sheet("title " * 100, rows)
    assert not overlapping(figure)
    assert {str(number) for number in range(10)} <= {text[-1] for text in texts(figure)}


def test_shapes_may_differ_from_row_to_row():
    tall, wide = noise(1, (400, 50)), noise(2, (50, 400))
    figure = draw_contact_sheet("t", [SheetRow("p", {"A": tall, "x": tall}), SheetRow("q", {"A": wide, "x": wide})])
    assert shown(figure, 0).shape[0] / shown(figure, 0).shape[1] == pytest.approx(8, rel=0.05)
    assert shown(figure, 4).shape[1] / shown(figure, 4).shape[0] == pytest.approx(8, rel=0.05)
    width, height = picture(figure).size
    assert width < 2500
    assert height < 2500
    assert not overlapping(figure)


def test_any_name_is_shown_as_it_is():
    figure = draw_contact_sheet(STRANGE, [row({"$x_1$": noise(1)}, STRANGE)])
    assert texts(figure).count(STRANGE) == 2
    assert "$x_1$" in texts(figure)


def test_the_same_sheet_gives_the_same_bytes():
    first, second = (draw_contact_sheet("t", [row({"x": noise(1), "y": noise(2)})]) for _ in range(2))
    assert render_png(first) == render_png(second)
    assert render_svg(first) == render_svg(second)


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="rows"):
        draw_contact_sheet("t", [])
    with pytest.raises(ValueError, match="row"):
        draw_contact_sheet("t", [SheetRow("p", {})])


def test_a_sky_that_one_method_leaves_darker_shows_less_than_a_detail_that_it_loses():
    sky, dim = flat(100, 120, 200), flat(100, 120, 200)
    dim[:60] = 60
    detail = np.random.default_rng(3).integers(70, 131, (24, 40), np.uint8)
    sky[90:114, 100:140] = detail
    top, left, height, width = most_differing({"x": sky, "y": dim, "z": sky.copy()})
    assert abs(top - 90) <= 6
    assert abs(left - 100) <= 6
    assert (height, width) == (24, 40)
