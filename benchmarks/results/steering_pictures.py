"""The pictures of `steering.py`: the response to the balance by set, and one street at five balances."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pipelines.demo.street import draw_moment
from pipelines.evaluate.figures.figure_files import render_png
from pipelines.evaluate.figures.figure_style import figure_style, look
from pipelines.evaluate.response import Crop
from upfusion.model import FusionModel

DIAL = (-1.0, -0.5, 0.0, 0.5, 1.0)
STREET_SEED, STREET_SECOND = 0, 1.0
PANEL, HEIGHT, GAP, LINE = 320, 240, 6, 22
"""Pixels of one panel, the space between panels, and the line of text above."""


@figure_style()
def draw_response(crops: Sequence[Crop], at_balance: Mapping[float, Mapping[str, Tensor]], path: Path) -> None:
    """Draw the share of B and the mean luma of hot targets against the balance, one line per set."""
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    labels = {"share_of_b": "share of B: vif_b / (vif_a + vif_b)", "hot": "mean luma of hot targets (0 to 255)"}
    for position, name in enumerate(dict.fromkeys(crop.set for crop in crops)):
        index = [row for row, crop in enumerate(crops) if crop.set == name]
        marks = look(position)
        for one, measure in zip(axes, labels, strict=True):
            means = [measured[measure][index].nanmean().item() for measured in at_balance.values()]
            one.plot(list(at_balance), means, color=marks.color, marker=marks.marker, markersize=4, label=name)
    for one, label in zip(axes, labels.values(), strict=True):
        one.set(xlabel="balance: -1 keeps A, 1 keeps B", ylabel=label, xticks=list(at_balance))
        one.grid(True)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    path.write_bytes(render_png(figure))


def draw_dial(model: FusionModel, path: Path) -> None:
    """Draw one pair of the demo's street: A, B, and the result at five balances."""
    a, b = draw_moment(STREET_SEED, STREET_SECOND, PANEL, HEIGHT)
    panels = {"A: visible": a, "B: infrared": b}
    panels |= {f"--balance {balance:g}": model.fuse(a, b, balance=balance) for balance in DIAL}
    columns = 4
    lines = -(-(len(panels) + 1) // columns)
    sheet = Image.new("RGB", (columns * (PANEL + GAP) - GAP, lines * (HEIGHT + LINE + GAP) - GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    # The sources stand in the first column, the dial fills the rest.
    places = [(0, 0), (0, 1), *((column, row) for row in range(lines) for column in range(1, columns))]
    for (title, pixels), (column, row) in zip(panels.items(), places, strict=False):
        left, top = column * (PANEL + GAP), row * (HEIGHT + LINE + GAP)
        draw.text((left, top + 2), title, "black", font)
        sheet.paste(Image.fromarray(np.asarray(pixels)).convert("RGB"), (left, top + LINE))
    sheet.save(path, quality=88)
