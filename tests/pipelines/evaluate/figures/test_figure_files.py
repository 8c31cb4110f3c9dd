import io
from concurrent.futures import ThreadPoolExecutor

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pipelines.evaluate.figures.figure_files import render_png, render_svg, save_figure
from pipelines.evaluate.figures.figure_style import figure_style
from pipelines.storage import objects as storage

from .drawn import picture, texts

STRANGE = 'a_$x_1$ <script>alert("&")</script> 50% 夜间 עברית'


@figure_style()
def figure(text: str = "text", color: str = "black") -> Figure:
    drawn = Figure(figsize=(3, 2))
    axes = drawn.add_axes((0.2, 0.2, 0.7, 0.7), title=text)
    axes.plot([0, 1], [0, 1], "o-", color=color, clip_on=True)
    axes.bar([0.5], [0.5], hatch="///")
    return drawn


def test_a_png_and_an_svg_are_written_anywhere(place):
    drawn = figure()
    uris = save_figure(drawn, f"{place}/figures/of $x")
    assert uris == [f"{place}/figures/of $x.png", f"{place}/figures/of $x.svg"]
    assert Image.open(io.BytesIO(storage.read_bytes(uris[0]))).size == (450, 300)
    assert b"<svg" in storage.read_bytes(uris[1])
    assert not drawn.axes


def test_what_cannot_be_drawn_leaves_nothing(tmp_path):
    drawn = figure()
    drawn.axes[0].add_artist(_Broken())
    with pytest.raises(ZeroDivisionError):
        save_figure(drawn, f"{tmp_path}/x")
    assert not list(tmp_path.iterdir())


def test_the_same_figure_gives_the_same_bytes():
    first, second = figure(), figure()
    assert render_png(first) == render_png(second) == render_png(first)
    assert render_svg(first) == render_svg(second) == render_svg(first)


def test_threads_may_draw_side_by_side():
    expected = render_png(figure()), render_svg(figure())
    with ThreadPoolExecutor(4) as threads:
        drawn = list(threads.map(lambda _: (render_png(figure()), render_svg(figure())), range(8)))
    assert drawn == [expected] * 8


def test_names_are_shown_as_they_are():
    assert STRANGE in texts(figure(STRANGE))


def test_the_users_settings_neither_matter_nor_change():
    before = render_png(figure()), render_svg(figure())
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "svg.fonttype": "path", "savefig.dpi": 20}):
        settings = dict(mpl.rcParams)
        assert (render_png(figure()), render_svg(figure())) == before
        assert dict(mpl.rcParams) == settings


def test_grey_figures_are_grey_files():
    drawn = figure()
    drawn.axes[0].patches[0].set_facecolor("0.7")
    assert picture(drawn).mode == "L"
    assert picture(figure(color="red")).mode == "RGB"


class _Broken(mpl.artist.Artist):
    def draw(self, _renderer):
        raise ZeroDivisionError
