"""The curves of a training run, as its page draws them."""

import math
from typing import Any

import numpy as np

from pipelines.train.log import Numbers
from pipelines.train.validation import BEST_BY
from upfusion.metrics import METRICS

PLOT_WIDTH, PLOT_HEIGHT = 300.0, 110.0
POINTS = 200
"""Of a line at most; more steps than that are averaged."""
LOG_SCALE_FROM = 20.0
"""Where the highest value is so many times the lowest, the scale is logarithmic: otherwise the end is a flat line."""
NO_CURVES = ("step", "epoch", "crops_a_step", "workers", "validation_seconds")

Curve = dict[str, Any]


def curves_of(log: list[Numbers], best_step: float | None) -> list[tuple[str, list[Curve]]]:
    """Return the curves of a log in groups, each with a title: validation, losses, pace."""
    names = list(dict.fromkeys(name for row in log for name in row if name not in NO_CURVES))
    pace: list[str] = [name for name in ("learning_rate", "samples_per_second") if name in names]
    validated = sorted((name for name in names if name.startswith("val_")), key=lambda name: name != f"val_{BEST_BY}")
    losses = [name for name in names if name not in (*pace, *validated)]
    groups = [("Validation", validated), ("Losses", losses), ("Learning rate and speed", pace)]
    return [(title, [_curve(log, name, best_step) for name in group]) for title, group in groups if group]


def _curve(log: list[Numbers], name: str, best_step: float | None) -> Curve:
    steps, values = np.array([(row["step"], row[name]) for row in log if name in row], float).T
    shown_x, shown_y = _averaged(steps, values)
    first, last = float(log[0]["step"]), float(log[-1]["step"])
    low, high = float(shown_y.min()), float(shown_y.max())
    logarithmic = low > 0 and high > LOG_SCALE_FROM * low

    def x(step: float) -> float:
        return (step - first) / max(last - first, 1.0) * PLOT_WIDTH

    def y(value: float) -> float:
        scale = math.log if logarithmic else float
        span = scale(high) - scale(low)
        return (1 - (scale(value) - scale(low)) / span) * PLOT_HEIGHT if span else PLOT_HEIGHT / 2

    places = [(x(step), y(value)) for step, value in zip(shown_x, shown_y, strict=True)]
    validation = name.startswith("val_")
    best = best_step if name == f"val_{BEST_BY}" and best_step in steps else None
    return {
        "name": name.removeprefix("val_"),
        "title": METRICS[name.removeprefix("val_")].title if validation else None,
        "path": "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in places),
        "dots": places if (validation and len(places) <= POINTS / 4) or len(places) == 1 else [],
        "best": (x(best), y(values[steps == best][0])) if best is not None else None,
        "low": low,
        "high": high,
        "first": int(first),
        "last": int(last),
        "value": float(values[-1]),
        "logarithmic": logarithmic,
    }


def _averaged(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average neighbours, so that at most `POINTS` are left."""
    count = min(POINTS, len(steps))
    cells = np.arange(len(steps)) * count // len(steps)
    sizes = np.bincount(cells)
    return np.bincount(cells, steps) / sizes, np.bincount(cells, values) / sizes
