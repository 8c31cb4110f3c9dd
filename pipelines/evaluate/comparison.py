"""Comparing fusion methods on the same pairs: means, ranks, and differences to a reference."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.evaluate.scores import Score, scores_of
from pipelines.evaluate.set_values import SetValues, read_sets
from upfusion.metrics import METRICS

__all__ = ["Comparison", "Overview", "Score", "best_and_second", "compare", "overview"]

BALANCED = "_balanced"
ONE_SOURCE = ("_a", "_b")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Methods on exactly the same pairs of one set: `pairs` of the `of` pairs that the set has.

    `limited_by` are the methods without which it could have more pairs; empty if it has all of them. `methods` are
    best first: by `balanced_rank` (mean rank over the balanced metrics), then `mean_rank` (over all metrics with a
    direction but those against one source alone), then name. A rank is over the metrics the method has a value in.
    `absent` are the methods that have no image of any pair of the set.
    """

    set: str
    task: str
    pairs: int
    of: int
    reference: str
    metrics: tuple[str, ...]
    methods: tuple[str, ...] = ()
    limited_by: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    scores: dict[tuple[str, str], Score] = field(default_factory=dict)
    balanced_rank: dict[str, float | None] = field(default_factory=dict)
    mean_rank: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Overview:
    """One metric on many sets, from the main comparison of each (`comparisons`, one a set).

    `means` has (set, method) where the main comparison holds the method, None where it has no value; `best` and
    `second` are the methods to mark by set. `average_rank` is the mean of a method's balanced ranks over the
    `ranked_sets` where it has one (averages over different sets are not comparable); `methods` are best first by it.
    """

    metric: str
    comparisons: tuple[Comparison, ...]
    methods: tuple[str, ...]
    means: dict[tuple[str, str], float | None]
    best: dict[str, set[str]]
    second: dict[str, set[str]]
    average_rank: dict[str, float | None]
    ranked_sets: dict[str, int]


def compare(
    values: pa.Table,
    metrics: Sequence[str],
    methods: Sequence[str],
    reference: str,
    *,
    resamples: int = 9999,
    seed: int = 0,
) -> list[Comparison]:
    """Compare methods on the pairs that they have in common, set by set in order of first appearance.

    `values` has one row a set, pair, method and metric, with the columns set, pair_id, task, method, metric, value and
    status. Its rows may come in any order. An image that failed or is missing takes its pair out of every comparison
    that its method is in, so a set has one comparison for each different choice of pairs that methods are ok on, the
    most pairs first (the main one), with every method that is ok on all of these. Where no method's pairs lie within
    those of all others, the pairs that all have in common make one more. A comparison that would hold one method is
    left out if its method is in another one; otherwise it stays, and so does an empty one where all methods are absent.

    A value that is null or not finite takes its pair out of that metric alone, for all methods; a method without any
    value of a metric takes out nothing.

    Differences are bootstrapped over pairs, the same draw for every method and metric. Neighbouring frames of one
    recording are not independent pairs: for such sets the intervals are too narrow. Nothing is corrected for the
    number of comparisons: of 20 differences that are none, about one leaves out 0.

    Raises ValueError for an unknown metric, a method named twice, a reference that is no method, and a pair with two
    values of one metric by the same method.
    """
    if unknown := [metric for metric in metrics if metric not in METRICS]:
        raise ValueError(f"unknown metric {unknown[0]!r}; known metrics: {', '.join(METRICS)}")
    if len(set(methods)) < len(methods):
        raise ValueError(f"expected different names of methods, got {', '.join(methods)}")
    if reference not in methods:
        raise ValueError(f"expected a reference that is one of {', '.join(methods)}, got {reference!r}")
    request = _Request(tuple(methods), _ordered(metrics), reference, resamples, seed)
    sets = read_sets(values, request.metrics, request.methods)
    return [comparison for measured in sets for comparison in _compare_set(measured, request)]


def best_and_second(comparison: Comparison, metric: str) -> tuple[set[str], set[str]]:
    """Return the methods with the best mean and those with the second best; none for a metric without direction."""
    means = {method: comparison.scores[method, metric].mean for method in comparison.methods}
    return _best_two(means, METRICS[metric].higher_is_better)


def main_comparisons(comparisons: Sequence[Comparison], method: str | None = None) -> list[Comparison]:
    """Return the first comparison of each set, with the most pairs; of those that hold a method, if one is given."""
    main: dict[str, Comparison] = {}
    for one in comparisons:
        if method is None or method in one.methods:
            main.setdefault(one.set, one)
    return list(main.values())


def overview(comparisons: Sequence[Comparison], metric: str) -> Overview:
    """Return what a table of sets and methods shows of `metric`, from the main (first) comparison of each set.

    Every method of the comparisons is in it, also one that no main comparison holds. To have others as the main ones,
    give only those.
    Raises ValueError for a metric that was not compared.
    """
    if unknown := [one.set for one in comparisons if metric not in one.metrics]:
        raise ValueError(f"{metric!r} was not compared on {unknown[0]!r}")
    main = {one.set: one for one in main_comparisons(comparisons)}
    methods = sorted({method for one in comparisons for method in (*one.methods, *one.absent)})
    ranks = {
        method: [rank for one in main.values() if (rank := one.balanced_rank.get(method)) is not None]
        for method in methods
    }
    average_rank = {method: _mean(ranks[method]) for method in methods}
    marks = {name: best_and_second(one, metric) for name, one in main.items()}
    return Overview(
        metric=metric,
        comparisons=tuple(main.values()),
        methods=tuple(sorted(methods, key=lambda method: _none_last(average_rank[method]))),
        means={(name, method): one.scores[method, metric].mean for name, one in main.items() for method in one.methods},
        best={name: best for name, (best, _) in marks.items()},
        second={name: second for name, (_, second) in marks.items()},
        average_rank=average_rank,
        ranked_sets={method: len(ranks[method]) for method in methods},
    )


@dataclass(frozen=True)
class _Request:
    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    reference: str
    resamples: int
    seed: int


def _ordered(metrics: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted((name for name in METRICS if name in metrics), key=lambda name: not name.endswith(BALANCED)))


def _compare_set(measured: SetValues, request: _Request) -> Iterator[Comparison]:
    for pairs, members, limiting in _groups(measured.ok):
        names = tuple(request.methods[member] for member in members)
        scores = scores_of(
            measured.numbers[np.flatnonzero(pairs)[:, None], members],
            names,
            request.metrics,
            request.reference,
            resamples=request.resamples,
            seed=request.seed,
        )
        balanced = [name for name in request.metrics if name.endswith(BALANCED)]
        directed = [name for name in request.metrics if not name.endswith(ONE_SOURCE)]
        balanced_rank = {name: _mean_rank(scores, name, balanced) for name in names}
        mean_rank = {name: _mean_rank(scores, name, directed) for name in names}
        yield Comparison(
            set=measured.name,
            task=measured.task,
            pairs=int(pairs.sum()),
            of=len(pairs),
            reference=request.reference,
            metrics=request.metrics,
            methods=tuple(sorted(names, key=lambda name: (*_none_last(balanced_rank[name], mean_rank[name]), name))),
            limited_by=tuple(request.methods[member] for member in limiting),
            absent=tuple(request.methods[i] for i in np.flatnonzero(~measured.ok.any(0))),
            scores=scores,
            balanced_rank=balanced_rank,
            mean_rank=mean_rank,
        )


def _groups(ok: NDArray[np.bool_]) -> list[tuple[NDArray[np.bool_], list[int], list[int]]]:
    """Return the pairs `(pairs,)`, the methods and the limiting methods of each comparison, most pairs first."""
    present = np.flatnonzero(ok.any(0)).tolist()
    if not present:
        return [(np.zeros(len(ok), bool), [], [])]
    candidates = [ok[:, method] for method in present]
    common = np.all(ok[:, present], axis=1)
    if common.any():
        candidates.append(common)
    groups = []
    for pairs in {pairs.tobytes(): pairs for pairs in candidates}.values():
        members = [method for method in present if ok[pairs, method].all()]
        exactly = [method for method in members if (ok[:, method] == pairs).all()]
        limiting = exactly or [method for method in members if not ok[:, method].all()]
        groups.append((pairs, members, [] if pairs.all() else limiting))
    groups.sort(key=lambda group: (-group[0].sum(), -len(group[1])))
    in_company = {method for _, members, _ in groups if len(members) > 1 for method in members}
    return [group for group in groups if len(group[1]) > 1 or group[1][0] not in in_company]


def _mean_rank(scores: Mapping[tuple[str, str], Score], method: str, metrics: list[str]) -> float | None:
    ranks = (scores[method, metric].rank for metric in metrics)
    return _mean([rank for rank in ranks if rank is not None])


def _mean(numbers: list[float]) -> float | None:
    return math.fsum(numbers) / len(numbers) if numbers else None


def _none_last(*numbers: float | None) -> tuple[float, ...]:
    return tuple(math.inf if number is None else number for number in numbers)


def _best_two(means: Mapping[str, float | None], higher_is_better: bool | None) -> tuple[set[str], set[str]]:
    if higher_is_better is None:
        return set(), set()
    distinct = sorted({mean for mean in means.values() if mean is not None}, reverse=higher_is_better)
    best, second = ({method for method, mean in means.items() if mean in distinct[i : i + 1]} for i in (0, 1))
    return best, second
