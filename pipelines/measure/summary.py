"""Summary statistics of metrics."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def summarise(values: Mapping[str, NDArray[np.float64]]) -> dict[str, dict[str, float]]:
    """Return mean, p5, p50 and p95 of each metric's values, without metrics that have none."""
    summaries = {}
    for name, known in values.items():
        if len(known):
            p5, p50, p95 = np.percentile(known, [5, 50, 95])
            summaries[name] = {"mean": float(known.mean()), "p5": float(p5), "p50": float(p50), "p95": float(p95)}
    return summaries
