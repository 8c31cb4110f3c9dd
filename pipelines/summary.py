"""Numbers about a whole destination: what tables, tracking and reports quote."""

import numpy as np
import pyarrow.compute as pc

from pipelines.destination import Destination


def aggregate(destination: Destination, metrics: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Return mean, p5, p50 and p95 of every metric over all fused pairs; a metric without a value is left out."""
    if not metrics:
        return {}
    rows = destination.read_columns(["status", *metrics])
    rows = rows.filter(pc.equal(rows["status"], "ok"))
    aggregates = {}
    for name in metrics:
        values = rows[name].drop_null().to_numpy()
        if len(values):
            p5, p50, p95 = np.percentile(values, [5, 50, 95])
            aggregates[name] = {"mean": float(values.mean()), "p5": float(p5), "p50": float(p50), "p95": float(p95)}
    return aggregates
