"""The histogram of a metric over the pairs of a job, as the report draws it."""

import math
from typing import Any

import numpy as np

from upfusion.metrics import Metric

PLOT_WIDTH, PLOT_HEIGHT = 300.0, 110.0


def histogram(metric: Metric, values: np.ndarray) -> dict[str, Any]:
    """Return what the template draws of the values of a metric, in pixels of the plot; NaN is counted apart."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    if high - low < (least := 1e-3 * max(1.0, abs(low))):  # equal values still need an axis
        low, high = low - least / 2, high + least / 2
    bins = int(np.clip(2 * math.sqrt(len(finite)), 8, 40))
    counts, edges = np.histogram(finite, bins, (low, high))

    def x(value: float) -> float:
        return (value - low) / (high - low) * PLOT_WIDTH

    p5, p50, p95 = (float(p) for p in np.percentile(finite, [5, 50, 95]))
    statistics = {"mean": float(finite.mean()), "p5": p5, "p50": p50, "p95": p95}
    return {
        "metric": metric,
        "statistics": statistics,
        "marks": {name: x(value) for name, value in statistics.items()},
        "pairs": len(finite),
        "without": len(values) - len(finite),
        "tallest": int(counts.max()),
        "ticks": [(x(tick), f"{tick:g}") for tick in _ticks(low, high)],
        "bars": [
            {
                "x": x(left),
                "width": x(right) - x(left),
                "height": count / counts.max() * PLOT_HEIGHT,
                "label": f"{left:.4g} to {right:.4g}: {count}",
            }
            for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True)
        ],
    }


def _ticks(low: float, high: float) -> list[float]:
    magnitude = 10 ** math.floor(math.log10(high - low))
    step = next(s * magnitude for s in (0.2, 0.5, 1, 2, 5) if (high - low) / (s * magnitude) <= 5)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
