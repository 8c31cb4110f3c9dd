"""Contact sheets: sources and fused images side by side, with the region where the methods differ most below."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from pipelines.evaluate.figures.figure_style import DPI, NOTE_SIZE, TEXT_SIZE, TITLE_SIZE, figure_style, fitted
from upfusion.color import Pixels, luma
from upfusion.images import to_8_bits

SOURCES = ("A", "B")
COPIES = ("a", "b")
"""Methods that copy one source: a difference to them says nothing about the others."""

ENLARGED = 5  # magnification; the region is this fraction of an image's height and width

WIDEST_SHEET, WIDEST_PANEL, NARROWEST_SHEET = 2400, 480, 640  # pixels
MOST_PIXELS = 2_800_000  # in all panels; of colour photographs, a PNG of 2 to 4 MB and an SVG of twice that
TALLEST_PANEL = 1.5  # times as high as wide
MARGIN, GAP, LINE = 20, 6, 28  # pixels


@dataclass(frozen=True)
class SheetRow:
    """A pair on a sheet: images of one size by the name of their column (A, B, then methods)."""

    pair_id: str
    images: Mapping[str, Pixels]


@dataclass(frozen=True)
class _Cell:
    """Pixels of a figure that a panel may fill, from the sheet's upper left corner."""

    left: float
    top: float
    width: float
    height: float


@figure_style()
def draw_contact_sheet(title: str, rows: Sequence[SheetRow]) -> Figure:
    """Draw pairs in rows and their sources and methods in columns, each image above its enlarged region.

    A missing image is marked. Raises ValueError if there are no rows, a row has no image, or the
    images of a row differ in size.
    """
    if not rows or not all(row.images for row in rows):
        raise ValueError("Expected rows with images each, got " + ("a row without any" if rows else "none"))
    names = {name: None for row in rows for name in row.images}
    columns = [*(name for name in SOURCES if name in names), *(name for name in names if name not in SOURCES)]
    panel_width = _panel_width(rows, len(columns))
    heights = [_panel_height(row, panel_width) for row in rows]
    width = max(NARROWEST_SHEET, 2 * MARGIN + len(columns) * (panel_width + GAP) - GAP)
    height = 2 * MARGIN + 3 * LINE + sum(2 * (high + GAP) + LINE + GAP for high in heights)
    figure = Figure(figsize=(width / DPI, height / DPI))
    _write(figure, title, _Cell(MARGIN, MARGIN, width - 2 * MARGIN, LINE), TITLE_SIZE)
    top = MARGIN + LINE + GAP
    for column, name in enumerate(columns):
        cell = _Cell(MARGIN + column * (panel_width + GAP), top, panel_width, LINE)
        _write(figure, _heading(name), cell, TEXT_SIZE, centred=True)
    top += LINE
    for row, high in zip(rows, heights, strict=True):
        _write(figure, row.pair_id, _Cell(MARGIN, top, width - 2 * MARGIN, LINE), NOTE_SIZE)
        _draw_row(figure, row, columns, _Cell(MARGIN, top + LINE, panel_width, high))
        top += LINE + 2 * (high + GAP) + GAP
    note = f"Below each image: its framed place, where the methods differ most, {ENLARGED} times as large."
    _write(figure, note, _Cell(MARGIN, top, width - 2 * MARGIN, LINE), NOTE_SIZE)
    return figure


def most_differing(images: Mapping[str, Pixels]) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of the region where the methods' luma differs most.

    It is a fifth of the image's height and width, with the largest mean of the standard deviation over methods of
    luma relative to its neighbourhood, without sources and copies. Fewer than two methods, or equal ones, give the
    centre. Raises ValueError if images differ in size.
    """
    sizes = {image.shape[:2] for image in images.values()}
    if len(sizes) != 1:
        raise ValueError(f"Expected images of one size, got {sorted(sizes)} (height, width)")
    ((height, width),) = sizes
    place = math.ceil(height / ENLARGED), math.ceil(width / ENLARGED)
    methods = [image for name, image in images.items() if name not in SOURCES + COPIES]
    spread = _deviation(methods, place) if len(methods) > 1 else np.zeros((height, width), np.float32)
    if not spread.any():
        return (height - place[0]) // 2, (width - place[1]) // 2, *place
    mean = cv2.blur(spread, place[::-1], anchor=(0, 0))[: height - place[0] + 1, : width - place[1] + 1]
    top, left = np.unravel_index(np.argmax(mean), mean.shape)
    return int(top), int(left), *place


def choose_pairs(spread: Mapping[str, float], count: int) -> list[str]:
    """Return the `count` pairs whose methods differ most by a metric, the widest spread first.

    Ties are ordered by name, NaN comes last.
    """
    return sorted(spread, key=lambda pair: (math.isnan(spread[pair]), -spread[pair], pair))[:count]


def _deviation(images: Sequence[Pixels], place: tuple[int, int]) -> NDArray[np.float32]:
    """Return the standard deviation over images at every pixel, `(H, W)`.

    Relative to the mean of a neighbourhood twice the region: a uniformly darker sky shows nothing when enlarged.
    """
    first = luma(images[0])
    # Relative to the first image, so that equal ones give exact zeros.
    differences = [luma(image) - first for image in images]
    shown = [difference - cv2.blur(difference, (2 * place[1], 2 * place[0])) for difference in differences]
    deviation: NDArray[np.float32] = np.stack(shown).std(axis=0)
    return deviation


def _panel_width(rows: Sequence[SheetRow], columns: int) -> int:
    """Return the panel width in pixels that keeps the sheet within its largest width and number of pixels."""
    by_sheet = (WIDEST_SHEET - 2 * MARGIN) // columns - GAP
    area = 2 * columns * sum(_panel_height(row, 1000) / 1000 for row in rows)  # in squares of a panel's width
    return min(WIDEST_PANEL, by_sheet, int(math.sqrt(MOST_PIXELS / area)))


def _panel_height(row: SheetRow, width: int) -> int:
    high, wide = next(iter(row.images.values())).shape[:2]
    return max(1, round(width * min(TALLEST_PANEL, high / wide)))


def _heading(name: str) -> str:
    return f"source {name}" if name in SOURCES else name


def _draw_row(figure: Figure, row: SheetRow, columns: Sequence[str], first: _Cell) -> None:
    """Draw a row of panels and the row of their enlarged regions below it."""
    place = most_differing(row.images)
    top, left, height, width = place
    for column, name in enumerate(columns):
        cell = _Cell(first.left + column * (first.width + GAP), first.top, first.width, first.height)
        below = _Cell(cell.left, cell.top + first.height + GAP, cell.width, cell.height)
        if (image := row.images.get(name)) is None:
            _draw_absence(figure, cell)
            continue
        _frame(_draw_image(figure, image, cell), *place)
        enlarged = image[top : top + height, left : left + width]
        _frame(_draw_image(figure, enlarged, below), 0, 0, height, width)


def _draw_image(figure: Figure, image: Pixels, cell: _Cell) -> Axes:
    """Draw an image into a cell, keeping its aspect ratio; the axes are in image pixels."""
    high, wide = image.shape[:2]
    scale = min(cell.width / wide, cell.height / high)
    size = max(1, round(wide * scale)), max(1, round(high * scale))
    left, top = cell.left + (cell.width - size[0]) // 2, cell.top + (cell.height - size[1]) // 2
    axes = _axes(figure, _Cell(left, top, *size))
    # Resized here because matplotlib would embed the full image in an SVG.
    shown = np.asarray(Image.fromarray(to_8_bits(image)).resize(size, Image.Resampling.LANCZOS))
    axes.imshow(shown, cmap="gray", vmin=0, vmax=255, extent=(0, wide, high, 0), aspect="auto", interpolation="none")
    return axes


def _draw_absence(figure: Figure, cell: _Cell) -> None:
    axes = _axes(figure, cell)
    axes.add_patch(Rectangle((0, 0), 1, 1, facecolor="0.96", edgecolor="0.6", linestyle=":", linewidth=1))
    axes.text(0.5, 0.5, "no image", size=NOTE_SIZE, color="0.3", ha="center", va="center")


def _frame(axes: Axes, top: int, left: int, height: int, width: int) -> None:
    """Draw a white frame inside a black one, which is visible on any picture."""
    for color, points in (("black", 2.4), ("white", 1.0)):
        axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=color, linewidth=points))


def _axes(figure: Figure, cell: _Cell) -> Axes:
    width, height = figure.get_size_inches() * DPI
    bottom = height - cell.top - cell.height
    axes = figure.add_axes((cell.left / width, bottom / height, cell.width / width, cell.height / height))
    axes.set_axis_off()
    return axes


def _write(figure: Figure, text: str, cell: _Cell, size: float, *, centred: bool = False) -> None:
    width, height = figure.get_size_inches() * DPI
    x = cell.left + cell.width / 2 if centred else cell.left
    line = fitted(text, cell.width / DPI, size)
    y = 1 - (cell.top + cell.height / 2) / height
    figure.text(x / width, y, line, size=size, ha="center" if centred else "left", va="center")
