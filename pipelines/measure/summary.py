"""Numbers about a whole destination: what tables, tracking and reports quote."""

from collections.abc import Mapping

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.fuse.destination import Destination


def aggregate(destination: Destination, metrics: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Return mean, p5, p50 and p95 of every metric over all fused pairs; a metric without a value is left out."""
    if not metrics:
        return {}
    rows = destination.read_columns(["status", *metrics])
    rows = rows.filter(pc.equal(rows["status"], "ok"))
    return summarise({name: rows[name].drop_null().to_numpy() for name in metrics})


def summarise(values: Mapping[str, NDArray[np.float64]]) -> dict[str, dict[str, float]]:
    """Return mean, p5, p50 and p95 of each metric's values, leaving out a metric without any."""
    summaries = {}
    for name, known in values.items():
        if len(known):
            p5, p50, p95 = np.percentile(known, [5, 50, 95])
            summaries[name] = {"mean": float(known.mean()), "p5": float(p5), "p50": float(p50), "p95": float(p95)}
    return summaries
