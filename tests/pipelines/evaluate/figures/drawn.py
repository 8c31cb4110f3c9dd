"""What a figure shows, read out of its SVG and PNG."""

import io
from xml.etree import ElementTree

import numpy as np
from matplotlib.axis import XTick, YTick
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from PIL import Image

from pipelines.evaluate.figures.figure_files import render_png, render_svg
from pipelines.evaluate.figures.figure_style import figure_style


def texts(figure: Figure) -> list[str]:
    """The texts of the SVG, in the order they are drawn."""
    root = ElementTree.fromstring(render_svg(figure))
    return ["".join(found.itertext()) for found in root.iter("{http://www.w3.org/2000/svg}text")]


def picture(figure: Figure) -> Image.Image:
    return Image.open(io.BytesIO(render_png(figure)))


def grey(figure: Figure) -> NDArray[np.uint8]:
    return np.asarray(picture(figure).convert("L"))


@figure_style()
def placed_texts(figure: Figure) -> list[tuple[str, Bbox]]:
    """Every text that is drawn and the pixels it fills, without the lines that lead to it."""
    picture(figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    # An axis keeps the labels of ticks outside its limits.
    ticks = [tick for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for tick in axis.get_major_ticks()]
    hidden = {id(tick.label1) for tick in ticks if not _within(tick)} | {id(tick.label2) for tick in ticks}
    found = [text for text in figure.findobj(Text) if text.get_text().strip() and id(text) not in hidden]
    return [(text.get_text(), Text.get_window_extent(text, renderer)) for text in found if text.get_visible()]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that lie over each other, or a text twice that leaves the figure."""
    texts = placed_texts(figure)
    width, height = figure.bbox.size
    outside = [(text, text) for text, box in texts if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height]
    return outside + [
        (text, other)
        for number, (text, box) in enumerate(texts)
        for other, further in texts[:number]
        # What a line of text reserves above and below its letters may touch.
        if box.padded(-1).overlaps(further.padded(-1))
    ]


def _within(tick: XTick | YTick) -> bool:
    low, high = sorted(tick.axes.get_xlim() if isinstance(tick, XTick) else tick.axes.get_ylim())
    return low <= tick.get_loc() <= high
