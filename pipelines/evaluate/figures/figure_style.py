"""The style of all figures, independent of matplotlibrc, and fitting names of any length and script."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.textpath import text_to_path

from upfusion.metrics import METRICS

DPI = 150
TITLE_SIZE, TEXT_SIZE, NOTE_SIZE = 10.0, 8.0, 7.0  # points
LONGEST = 400  # letters of any line

# DejaVu, which comes with matplotlib, has no Chinese, Japanese or Korean glyphs; these fonts do, if installed.
EAST_ASIAN_FONTS = frozenset(
    {"Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "WenQuanYi Micro Hei", "Microsoft YaHei", "PingFang SC"}
)
STYLE: dict[Any, Any] = {
    "figure.dpi": DPI,
    "font.size": TEXT_SIZE,
    "axes.titlesize": TEXT_SIZE,
    "axes.labelsize": TEXT_SIZE,
    "xtick.labelsize": NOTE_SIZE,
    "ytick.labelsize": TEXT_SIZE,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": "0.88",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    # Names come from users: `$` does not start a formula.
    "text.parse_math": False,
    "text.usetex": False,
    # With hinting, letters in a PNG are wider than text_width.
    "text.hinting": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "upfusion",
}

# Seven and twelve have no common divisor: 84 methods look different in black and white, the first 12 by marker alone.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*", "h")
# Lines only: with dots and circles the SVG of one box is half a megabyte.
HATCHES = ("", "/////", "xxxx", "\\\\\\\\\\", "----", "||||", "++++")
# Okabe and Ito's palette, distinguishable for most colour-blind readers, without yellow and black.
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")

_RC_PARAMS = threading.RLock()


@dataclass(frozen=True)
class Look:
    """The marks of one method: colour, marker and hatch."""

    marker: str
    hatch: str
    color: str


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw or render in the project's style, one thread at a time; as a decorator, the whole function.

    matplotlib's settings are global: they are restored afterwards.
    """
    with _RC_PARAMS, mpl.rc_context(), warnings.catch_warnings():
        # Glyphs missing in all fonts are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from|Matplotlib currently does not support")
        mpl.rcdefaults()
        known = sorted(EAST_ASIAN_FONTS.intersection(fontManager.get_font_names()))
        mpl.rcParams.update(STYLE | {"font.family": ["DejaVu Sans", *known, "sans-serif"]})
        yield


def look(position: int) -> Look:
    """Return the marks of the method at a position of a figure's list of methods."""
    return Look(*(choices[position % len(choices)] for choices in (MARKERS, HATCHES, COLORS)))


def fitted(text: str, inches: float, size: float = TEXT_SIZE) -> str:
    """Shorten an untrusted text to one line of limited width at `size` points.

    The middle is replaced by an ellipsis, since long names mostly differ at their ends. Characters
    that cannot be shown or are not allowed in XML become U+FFFD.
    """
    line = "".join(letter if letter.isprintable() else "\ufffd" for letter in " ".join(text.split()))
    if len(line) <= LONGEST and text_width(line, size) <= inches:
        return line
    fits, too_long = 0, min(len(line), LONGEST)
    while too_long - fits > 1:
        kept = (fits + too_long) // 2
        fits, too_long = (kept, too_long) if text_width(_shortened(line, kept), size) <= inches else (fits, kept)
    return _shortened(line, fits)


def text_width(text: str, size: float = TEXT_SIZE) -> float:
    """Return the width in inches of a line of text at `size` points, within `figure_style`."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)
    return float(width) / 72


def metric_label(metric: str) -> str:
    """Return a metric's title and, on a second line, its direction."""
    return f"{METRICS[metric].title}\n({direction(metric)})"


def direction(metric: str) -> str:
    """Return which values of a metric are better, as text."""
    words = {True: "higher is better", False: "lower is better", None: "neither end is better"}
    return words[METRICS[metric].higher_is_better]


def _shortened(line: str, kept: int) -> str:
    end = kept // 2
    return f"{line[: kept - end].rstrip()}…{line[len(line) - end :].lstrip()}"
