"""A fuse job in MLflow: what its run records of the outcome."""

from typing import Any

import pyarrow.compute as pc

from pipelines.archive.allowlist import MayRead
from pipelines.errors.escaping import printable
from pipelines.fuse.destination import Destination
from pipelines.fuse.price import Price
from pipelines.fuse.report.triptych import draw_triptychs
from pipelines.storage import objects as storage
from pipelines.tracking.mlflow_client import ONE_MINUTE, mlflow_retry_limits
from pipelines.tracking.run import TrackedRun

FAILURES_LISTED = 1000

Aggregates = dict[str, dict[str, float]]


@mlflow_retry_limits(ONE_MINUTE)
def track(
    tracked: TrackedRun,
    destination: Destination,
    counts: dict[str, Any],
    aggregates: Aggregates,
    fused_now: int,
    seconds: float,
    price: Price | None,
    may_read: MayRead,
) -> None:
    """Record counts, metrics, failures, the report and some pictures in the run of a job, if it has one."""
    if tracked.run_id is None:
        return
    import mlflow

    values = {name: float(number) for name, number in counts.items() if isinstance(number, int)}
    if fused_now:
        values |= {"pairs_per_second": fused_now / seconds, "seconds": seconds}
    if price:
        values |= {"price": price.total, f"{price.unit}_per_currency_unit": price.fused_per_currency_unit}
    for metric, numbers in aggregates.items():
        values |= {f"{metric}_{name}": value for name, value in numbers.items()}
    mlflow.log_metrics(values)
    if counts["failed"]:
        mlflow.log_table(_failures(destination), "failures.json")
    for name in ("run.json", "report.html"):
        text = storage.read_bytes(storage.join(destination.uri, name)).decode()
        mlflow.log_text(text, name)
    for number, triptych in enumerate(draw_triptychs(destination, count=3, may_read=may_read), start=1):
        mlflow.log_image(triptych, f"triptychs/{number}.png")


def _failures(destination: Destination) -> dict[str, list[Any]]:
    rows = destination.read_columns(["pair_id", "status", "error_code", "error"])
    failed = rows.filter(pc.equal(rows["status"], "failed")).slice(0, FAILURES_LISTED).to_pylist()
    return {name: [printable(str(row[name])) for row in failed] for name in ("pair_id", "error_code", "error")}
