"""The long table of an evaluation as one array per set."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class SetValues:
    """The values of one set; pairs in order of their names, methods and metrics in the requested order.

    `ok` `(pairs, methods)` says which pairs a method has an image of. `numbers` `(pairs, methods, metrics)` is NaN
    without a value.
    """

    name: str
    task: str
    ok: NDArray[np.bool_]
    numbers: NDArray[np.float64]


def read_sets(values: pa.Table, metrics: tuple[str, ...], methods: tuple[str, ...]) -> Iterator[SetValues]:
    """Yield the sets of `values` in order of first appearance; a pair counts if any method has a row of it.

    Raises ValueError if a pair has two values of a metric by the same method.
    """
    for name in values["set"].unique().to_pylist():
        rows = values.filter(pc.equal(values["set"], name))
        pairs = rows["pair_id"].cast(pa.string()).unique().sort()
        tasks = sorted(set(rows["task"].drop_null().to_pylist()))
        ok, numbers = _arrays(name, rows, pairs, methods, metrics)
        yield SetValues(name=name, task=", ".join(tasks), ok=ok, numbers=numbers)


def _arrays(
    name: str, rows: pa.Table, pairs: pa.Array, methods: tuple[str, ...], metrics: tuple[str, ...]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    pair, method, metric = (
        _codes(rows[column], known) for column, known in (("pair_id", pairs), ("method", methods), ("metric", metrics))
    )
    fused = pc.fill_null(pc.equal(rows["status"], "ok"), False).to_numpy() & (method >= 0)
    ok = np.zeros((len(pairs), len(methods)), bool)
    ok[pair[fused], method[fused]] = True

    wanted = (method >= 0) & (metric >= 0)
    places = np.ravel_multi_index(
        (pair[wanted], method[wanted], metric[wanted]), shape := (len(pairs), len(methods), len(metrics))
    )
    _refuse_duplicates(name, rows, wanted, places)
    numbers = np.full(shape, np.nan)
    numbers.flat[places] = rows["value"].cast(pa.float64()).to_numpy()[wanted]
    return ok, numbers


def _codes(column: pa.ChunkedArray, known: pa.Array | tuple[str, ...]) -> NDArray[np.int64]:
    """Return the index of each cell in `known`, -1 if it is missing."""
    places = pc.index_in(column.cast(pa.string()), value_set=pa.array(known, pa.string()))
    return pc.fill_null(places, -1).to_numpy().astype(np.int64)


def _refuse_duplicates(name: str, rows: pa.Table, wanted: NDArray[np.bool_], places: NDArray[np.int64]) -> None:
    counts = np.bincount(places)
    if not (counts > 1).any():
        return
    row = int(np.flatnonzero(wanted)[np.argmax(places == np.argmax(counts > 1))])
    pair, method, metric = (rows[column][row].as_py() for column in ("pair_id", "method", "metric"))
    raise ValueError(
        f"set {name!r} has more than one value of {metric} for pair {pair!r} by {method!r}; "
        "give every set and method a unique name"
    )
