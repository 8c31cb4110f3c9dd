from collections import Counter

import numpy as np
import pytest

from pipelines.train.crops import CropRules, EpochSampler

RNG = np.random.default_rng(0)
A = RNG.random((40, 60)).astype(np.float16)
B = RNG.random((40, 60)).astype(np.float16)


def windows(pixels, side):
    return np.lib.stride_tricks.sliding_window_view(pixels.astype(np.float32), (side, side))


# Order


def test_every_pair_comes_once_an_epoch_each_time_in_another_order():
    order = EpochSampler([1.0] * 20, seed=0)
    epochs = [[order[epoch * 20 + n] for n in range(20)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert [EpochSampler([1.0] * 20, seed=0)[n] for n in range(20, 40)] == epochs[1]
    assert [EpochSampler([1.0] * 20, seed=1)[n] for n in range(20)] != epochs[0]


def test_the_order_can_be_asked_anywhere():
    order = EpochSampler([1.0] * 7, seed=3)
    forwards = [order[n] for n in range(50)]
    assert [order[n] for n in reversed(range(50))] == forwards[::-1]


def test_weights_say_how_often_a_pair_comes():
    order = EpochSampler([2.0, 2.0, 0.5, 0.5, 1.0, 0.0], seed=0)
    epochs = [Counter(order[epoch * 6 + n] for n in range(6)) for epoch in range(400)]
    assert all(epoch[0] == epoch[1] == 2 and epoch[4] == 1 and epoch[5] == 0 for epoch in epochs)
    assert sum(epoch[2] for epoch in epochs) == pytest.approx(200, abs=50)


# Crops


def test_a_crop_is_one_window_of_both_sources():
    crop = CropRules(side=16, augmentations=()).draw(A, B, 5)
    found_a = np.argwhere((windows(A, 16) == crop.a).all(axis=(2, 3)))
    found_b = np.argwhere((windows(B, 16) == crop.b).all(axis=(2, 3)))
    assert len(found_a) == 1
    assert (found_a == found_b).all()
    assert crop.a.dtype == np.float32


def test_a_crop_depends_on_its_number_and_the_seed_alone():
    rules = CropRules(side=16, random_prompts=0.5, prompts=("x", "y"))
    first, again = rules.draw(A, B, 5), rules.draw(A, B, 5)
    assert (first.a == again.a).all()
    assert first.prompt == again.prompt
    assert not (first.a == rules.draw(A, B, 6).a).all()
    assert not (first.a == CropRules(side=16, seed=1).draw(A, B, 5).a).all()


def test_crops_reach_every_corner():
    rules = CropRules(side=39, augmentations=())
    crops = [rules.draw(A, B, n).a for n in range(300)]
    corners = [A[:39, :39], A[:39, -39:], A[-39:, :39], A[-39:, -39:]]
    assert all(any((crop == corner).all() for crop in crops) for corner in corners)


def test_halved_crops_show_twice_the_field_as_means_of_four_pixels():
    crop = CropRules(side=5, half_scale_prob=1.0, augmentations=()).draw(A, B, 0)
    assert crop.a.shape == (5, 5)
    found = [
        [
            (top, left)
            for top in range(31)
            for left in range(51)
            if np.allclose(
                windows(luma, 2)[top : top + 10 : 2, left : left + 10 : 2].mean(axis=(2, 3)), seen, atol=1e-6
            )
        ]
        for luma, seen in ((A, crop.a), (B, crop.b))
    ]
    assert len(found[0]) == 1
    assert found[0] == found[1]
    # An image of less than eight crops a side is shown as it is.
    whole = CropRules(side=6, half_scale_prob=1.0, augmentations=()).draw(A, B, 0)
    assert (windows(A, 6) == whole.a).all(axis=(2, 3)).any()


def test_b_of_another_pair_has_a_window_of_its_own():
    rules = CropRules(side=16, mismatched_pair_prob=0.25, augmentations=())
    others = [rules.other_pair(n, 7) for n in range(400)]
    assert others.count(None) == pytest.approx(300, abs=40)
    assert set(others) == {None, *range(7)}
    assert rules.other_pair(3, 7) == others[3]
    crop = rules.draw(A, B[:20, :30], 0)
    assert (windows(A, 16) == crop.a).all(axis=(2, 3)).any()
    assert (windows(B[:20, :30], 16) == crop.b).all(axis=(2, 3)).any()


def test_the_share_of_crops_with_a_prompt_of_the_bank_is_as_asked():
    rules = CropRules(side=16, random_prompts=0.5, prompts=("x", "y"))
    drawn = Counter(rules.draw(A, B, n).prompt for n in range(600))
    assert set(drawn) == {"x", "y", None}
    assert drawn[None] == pytest.approx(300, abs=60)
    assert drawn["x"] == pytest.approx(150, abs=50)
    assert CropRules(side=16, random_prompts=1.0).draw(A, B, 0).prompt is None
