"""Small tables of values, as an evaluation gives them."""

import pyarrow as pa

# What a method has in place of a number where its image failed or is missing.
FAILED, MISSING = "failed", "missing"
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("set", "pair_id", "task", "method", "metric", "status")]
    + [("value", pa.float64())]
)

Value = float | str | None


def rows_of(measured: dict[str, dict[str, list[Value]]], name: str = "MSRS", task: str = "ir_visible") -> list[dict]:
    """Rows from {metric: {method: a value per pair}}; the pairs are p00, p01, ..."""
    return [
        {
            "set": name,
            "pair_id": f"p{index:02}",
            "task": task,
            "method": method,
            "metric": metric,
            "status": value if isinstance(value, str) else "ok",
            "value": None if isinstance(value, str) else value,
        }
        for metric, methods in measured.items()
        for method, values in methods.items()
        for index, value in enumerate(values)
    ]


def table_of(*rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist([row for some in rows for row in some], SCHEMA)
