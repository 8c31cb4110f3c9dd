"""The dial in the report of a fuse job: one pair that was fused at several balances, side by side."""

from collections import defaultdict

import numpy as np
import pyarrow as pa

from pipelines.storage.parquet import read_as

FEWEST = 3
"""Balances of one pair that are worth a row of pictures."""

SOURCES = pa.schema([pa.field(name, pa.string()) for name in ("pair_id", "a_uri", "b_uri")])


def find_dial(rows: pa.Table, shown: np.ndarray, file_of: list[str]) -> list[int]:
    """Return the rows of the first pair of sources that was fused at several balances, by balance; empty for none.

    `rows` has `pair_id` and `balance`, `shown` says which of them may be shown, `file_of` which file each is from.
    Sources are read only where there are several balances at all.
    """
    balances = rows["balance"].to_numpy()
    indices = np.flatnonzero(shown & np.isfinite(balances))
    if len(np.unique(balances[indices])) < FEWEST:
        return []
    sources: dict[str, tuple[str, str]] = {}
    for file in dict.fromkeys(file_of[index] for index in indices):
        sources |= {row["pair_id"]: (row["a_uri"], row["b_uri"]) for row in read_as(file, SOURCES).to_pylist()}
    fused_at: dict[tuple[str, str], dict[float, int]] = defaultdict(dict)
    for index in indices.tolist():
        fused_at[sources[rows["pair_id"][index].as_py()]].setdefault(float(balances[index]), index)
    of_one_pair = next((found for found in fused_at.values() if len(found) >= FEWEST), {})
    return [of_one_pair[balance] for balance in sorted(of_one_pair)]
