"""The log of a training run (`log.parquet`): one row of numbers per report of the losses."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from pipelines.storage import objects as storage
from pipelines.storage.parquet import read_table, write_table
from pipelines.train.state import Best
from pipelines.train.validation import BEST_BY

Numbers = dict[str, int | float]


def numbers_of(report: Mapping[str, Any]) -> Numbers:
    """Return the numbers of a report: step, epoch, losses, after a validation `val_METRIC`."""
    return {name: value for name, value in report.items() if isinstance(value, int | float)}


def write_log(uri: str, reports: Iterable[Mapping[str, Any]]) -> None:
    """Write reports in order; missing values are null."""
    rows = [numbers_of(report) for report in reports]
    names = dict.fromkeys(name for row in rows for name in row)
    write_table(uri, pa.table({name: [row.get(name) for row in rows] for name in names}))


def read_log(uri: str, up_to: int | None = None) -> list[Numbers]:
    """Read the reports up to a step; empty without a log. Raises UsageError for another file."""
    rows = read_table(uri).to_pylist() if storage.exists(uri) else []
    return [
        {name: value for name, value in row.items() if value is not None}
        for row in rows
        if up_to is None or row["step"] <= up_to
    ]


def best_of(log: Iterable[Numbers]) -> Best | None:
    """Return the first of the best validations; None without any."""
    name = f"val_{BEST_BY}"
    validated = [row for row in log if name in row]
    best = max(validated, key=lambda row: row[name], default=None)
    return best and {"step": best["step"], "value": best[name]}
