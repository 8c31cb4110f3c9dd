import tracemalloc

import numpy as np
import pytest
from scipy import stats

from pipelines.evaluate.paired_bootstrap import mean_intervals


def test_intervals_equal_those_of_scipys_own_mean():
    differences = np.random.default_rng(3).normal([0, 0.1, 1, -5], size=(25, 4))
    low, high = mean_intervals(differences, resamples=999, seed=7)
    expected = stats.bootstrap(
        (differences,), np.mean, n_resamples=999, method="percentile", rng=np.random.default_rng(7)
    ).confidence_interval
    np.testing.assert_allclose(low, expected.low, rtol=0, atol=1e-12)
    np.testing.assert_allclose(high, expected.high, rtol=0, atol=1e-12)


def test_batches_do_not_change_the_interval(monkeypatch):
    differences = np.random.default_rng(3).normal(size=(25, 2))
    whole = mean_intervals(differences, resamples=999)
    monkeypatch.setattr("pipelines.evaluate.paired_bootstrap.BATCH_CELLS", 25 * 10)
    np.testing.assert_allclose(mean_intervals(differences, resamples=999), whole, rtol=0, atol=1e-12)


def test_a_constant_difference_has_an_interval_without_width():
    low, high = mean_intervals(np.array([[0.0, 0.25]] * 8))
    assert low.tolist() == high.tolist() == [0.0, 0.25]


def test_memory_stays_small_with_very_many_pairs():
    differences = np.random.default_rng(0).normal(size=(100_000, 2))
    tracemalloc.start()
    try:
        mean_intervals(differences, resamples=100)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 150e6  # 9,999 at once would be 32 GB, and these 100 more than 300 MB


def test_too_few_pairs_are_refused():
    with pytest.raises(ValueError, match=r"\b6\b.*\b5\b"):
        mean_intervals(np.zeros((5, 1)))
