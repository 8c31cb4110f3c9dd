"""Scores of each method in each metric, from an array of values."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pipelines.evaluate.paired_bootstrap import FEWEST_PAIRS, mean_intervals
from upfusion.metrics import METRICS

DIFFERENCES = 4_000_000  # held at a time, 32 MB; a set of 100,000 pairs has five times as many and more

Intervals = dict[tuple[int, int], tuple[float, float | None, float | None]]


@dataclass(frozen=True, kw_only=True)
class Score:
    """One method in one metric, over the pairs of one comparison.

    `pairs` counts the values behind it; without any, all else is None. `std` has n - 1 below it and is None for one
    pair. `rank` is 1 for the best, the mean rank for ties, None for a metric without direction. `difference` is the
    mean of method - reference over the pairs, `low` and `high` its 95 % interval, `significant` whether that leaves
    out 0; all None for the reference itself, the last three also for fewer than 6 pairs.
    """

    pairs: int = 0
    mean: float | None = None
    std: float | None = None
    rank: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    significant: bool | None = None


def scores_of(
    numbers: NDArray[np.float64],
    methods: tuple[str, ...],
    metrics: tuple[str, ...],
    reference: str,
    *,
    resamples: int,
    seed: int,
) -> dict[tuple[str, str], Score]:
    """Return the score of each `(method, metric)` from `numbers` `(pairs, methods, metrics)`.

    What is not finite is no value. `reference` need not be one of `methods`; then there are no differences.
    """
    known = np.isfinite(numbers)
    measured = np.any(known, axis=0)
    usable = np.all(known | ~measured, axis=1)
    intervals: Intervals = {}
    if reference in methods:
        for alike in _alike(measured, usable, methods.index(reference)):
            intervals |= _intervals(numbers, usable, alike, methods.index(reference), resamples, seed)
    scores = {}
    for k, metric in enumerate(metrics):
        rows = np.flatnonzero(usable[:, k])
        columns = np.flatnonzero(measured[:, k]) if len(rows) else np.array([], int)
        chosen = numbers[rows[:, None], columns, k]
        means = chosen.mean(0) if len(columns) else np.array([])
        spreads = chosen.std(0, ddof=1) if len(rows) > 1 else [None] * len(columns)
        ranks = _ranks(means, METRICS[metric].higher_is_better)
        for column, mean, std, rank in zip(columns.tolist(), means, spreads, ranks, strict=True):
            difference, low, high = intervals.get((column, k), (None, None, None))
            scores[methods[column], metric] = Score(
                pairs=len(rows),
                mean=float(mean),
                std=None if std is None else float(std),
                rank=rank,
                difference=difference,
                low=low,
                high=high,
                significant=None if low is None or high is None else not low <= 0 <= high,
            )
    return {(method, metric): scores.get((method, metric), Score()) for method in methods for metric in metrics}


def _ranks(means: NDArray[np.float64], higher_is_better: bool | None) -> list[float | None]:
    if higher_is_better is None:
        return [None] * len(means)
    return list(stats.rankdata(-means if higher_is_better else means).tolist())


def _alike(measured: NDArray[np.bool_], usable: NDArray[np.bool_], reference: int) -> list[list[tuple[int, int]]]:
    """Return the `(method, metric)` that have differences, those of the same usable pairs together."""
    groups: dict[bytes, list[tuple[int, int]]] = {}
    for k in np.flatnonzero(measured[reference] & usable.any(0)).tolist():
        others = [(i, k) for i in np.flatnonzero(measured[:, k]).tolist() if i != reference]
        groups.setdefault(usable[:, k].tobytes(), []).extend(others)
    return [columns for columns in groups.values() if columns]


def _intervals(
    numbers: NDArray[np.float64],
    usable: NDArray[np.bool_],
    columns: list[tuple[int, int]],
    reference: int,
    resamples: int,
    seed: int,
) -> Intervals:
    """Return difference, low and high of each `(method, metric)` in `columns`, which have the same usable pairs."""
    pairs = np.flatnonzero(usable[:, columns[0][1]])[:, None]
    step = max(1, DIFFERENCES // len(pairs))
    intervals: Intervals = {}
    for some in (columns[start : start + step] for start in range(0, len(columns), step)):
        method, metric = np.array(some).T
        differences = numbers[pairs, method, metric] - numbers[pairs, reference, metric]
        low: list[float | None] = [None] * len(some)
        high = low
        if len(pairs) >= FEWEST_PAIRS:
            low, high = (ends.tolist() for ends in mean_intervals(differences, resamples=resamples, seed=seed))
        intervals |= dict(zip(some, zip(differences.mean(0).tolist(), low, high, strict=True), strict=True))
    return intervals
