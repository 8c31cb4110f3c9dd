"""Writing figures deterministically: the same figure gives the same bytes."""

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from pipelines.evaluate.figures.figure_style import DPI, figure_style
from pipelines.storage import objects as storage


def save_figure(figure: Figure, uri_without_suffix: str) -> list[str]:
    """Write a figure as PNG (150 dpi) and SVG (text stays text) and clear it; returns the two URIs.

    Raises OSError, naming the URI, where a file cannot be written.
    """
    # Render both before writing either, so that an error leaves no file.
    files = {f"{uri_without_suffix}.png": render_png(figure), f"{uri_without_suffix}.svg": render_svg(figure)}
    figure.clear()
    for uri, data in files.items():
        storage.write_bytes(uri, data)
    return list(files)


@figure_style()
def render_png(figure: Figure) -> bytes:
    """Render a figure as PNG, 8 bits per channel; greyscale if it has no colour."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    grey = (pixels == pixels[..., :1]).all()
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if grey else pixels))
    image.save(buffer, "PNG", dpi=(DPI, DPI))
    return buffer.getvalue()


@figure_style()
def render_svg(figure: Figure) -> bytes:
    """Render a figure as SVG, with embedded images and without a date."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", dpi=DPI, metadata={"Date": None})
    return buffer.getvalue()
