import numpy as np
import pytest
import torch

from pipelines.evaluate.measure_actor import fuse_by_baseline
from tests.pipelines.blocks import noise
from upfusion.baseline_fuser import BaselineFuser
from upfusion.baselines import RULES
from upfusion.color import color_rule

NO_TEXT = torch.zeros(1, 0)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("task", ["ir_visible", "pet_mri"])
def test_eight_bits_give_what_an_evaluation_measures(name: str, task: str) -> None:
    a, b = noise(24, 32, 3, seed=1), noise(24, 32, seed=2)
    (fused,) = BaselineFuser(name).fuse_batch([a], [b], NO_TEXT, None, [color_rule(task)])
    np.testing.assert_array_equal(fused, fuse_by_baseline(name, a, b, task))


def test_sixteen_bits_are_kept() -> None:
    a, b = noise(24, 32, dtype=np.uint16, seed=1), noise(24, 32, dtype=np.uint16, seed=2)
    (fused,) = BaselineFuser("mean").fuse_batch([a], [b], NO_TEXT)
    assert fused.dtype == np.uint16
    assert np.abs(fused - (a.astype(float) + b) / 2).max() <= 1
    assert len(np.unique(fused % 257)) > 100  # not whole levels of 8 bits


def test_a_batch_is_fused_pair_by_pair() -> None:
    a, b = [noise(24, 32, seed=seed) for seed in (1, 2)], [noise(24, 32, seed=seed) for seed in (3, 4)]
    fused = BaselineFuser("laplacian").fuse_batch(a, b, torch.zeros(2, 0))
    for one_a, one_b, one in zip(a, b, fused, strict=True):
        np.testing.assert_array_equal(one, fuse_by_baseline("laplacian", one_a, one_b, "ir_visible"))
