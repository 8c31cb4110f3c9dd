"""Clips in which nothing moves, or everything repeats, have no offset, whatever chance makes of thousands of lags."""

import numpy as np
import pytest

from pipelines.fuse.footage.sync import LEAST_CONFIDENCE, estimate_offset

KINDS = ("noise", "key frames", "periodic", "exposure", "still", "drift")


def clip(kind: str, rng: np.random.Generator, frames: int, period: float) -> tuple[np.ndarray, np.ndarray]:
    times = np.arange(frames) / 25
    energy = np.abs(rng.normal(0.5, 0.15, frames)) * 25
    if kind == "key frames":
        energy[rng.integers(0, 250) :: int(rng.choice([50, 250]))] += rng.uniform(20, 80)
    if kind == "periodic":
        energy += 30 * (1 + np.sin(2 * np.pi * times / period + rng.uniform(0, 6)))
    if kind == "exposure":
        for place in rng.integers(0, frames, 2):
            energy[place : place + 3] += rng.uniform(50, 200)
    if kind == "still":
        energy = 5.0 * (rng.random(frames) < 0.01)
    if kind == "drift":
        energy += np.abs(np.cumsum(rng.normal(size=frames)))
    return times, energy


def accepted(kind: str, count: int) -> int:
    found = 0
    for number in range(count):
        rng = np.random.default_rng([KINDS.index(kind), number])
        frames, period = int(rng.choice([150, 300, 500])), rng.uniform(0.4, 5)
        offset = estimate_offset(clip(kind, rng, frames, period), clip(kind, rng, frames, period), 1 / 25)
        found += offset is not None and offset.confidence >= LEAST_CONFIDENCE
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_no_offset_is_found_where_there_is_none(kind: str) -> None:
    assert accepted(kind, 4) == 0


@pytest.mark.slow
@pytest.mark.extended
def test_fewer_than_one_in_a_hundred_false_offsets_are_accepted() -> None:
    assert sum(accepted(kind, 200) for kind in KINDS) < 0.01 * 200 * len(KINDS)
