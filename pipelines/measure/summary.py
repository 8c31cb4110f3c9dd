"""Summary statistics of metrics, and how often and why they have no value."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Undefined:
    """On how many images a metric has no value, and why."""

    count: int
    reasons: tuple[str, ...]
    """The most frequent first."""

    def describe(self) -> str:
        """Return the reasons as the end of a sentence."""
        return ", or ".join(self.reasons[:REASONS_SHOWN]) or "no reason is recorded"


REASONS_SHOWN = 3


def count_undefined(images: Iterable[Mapping[str, str | None]]) -> dict[str, Undefined]:
    """Count the images without a value per metric, from the reason of each such metric of each image."""
    found: dict[str, Counter[str | None]] = defaultdict(Counter)
    for reasons in images:
        for name, reason in reasons.items():
            found[name][reason] += 1
    return {
        name: Undefined(counts.total(), tuple(reason for reason, _ in counts.most_common() if reason))
        for name, counts in found.items()
    }


def group_undefined(undefined: Mapping[str, Undefined]) -> list[tuple[str, Undefined]]:
    """Join the names of metrics that lack values alike: (names, why and on how many)."""
    alike: dict[Undefined, list[str]] = defaultdict(list)
    for name, one in undefined.items():
        alike[one].append(name)
    return [(", ".join(names), one) for one, names in alike.items()]


def notes_on_undefined(reasons: Mapping[str, str]) -> list[str]:
    """Return notes for a row on why metrics have no value, one per reason; `reasons_in_note` reads them."""
    named = defaultdict(list)
    for name, reason in reasons.items():
        named[reason].append(name)
    return [f"no {', '.join(names)}: {reason}" for reason, names in named.items()]


def reasons_in_note(note: str | None) -> dict[str, str]:
    """Return the reason of each metric without a value that a row's note names."""
    found = re.findall(r"(?:^|; )no ([a-z0-9_]+(?:, [a-z0-9_]+)*): ([^;]+)", note or "")
    return {name: reason for names, reason in found for name in names.split(", ")}
