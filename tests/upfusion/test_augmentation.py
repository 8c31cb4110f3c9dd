import numpy as np
import pytest

from upfusion.augmentation import AUGMENTATIONS, Luma, augment

RNG = np.random.default_rng(0)
A = RNG.random((48, 40), dtype=np.float32)
B = RNG.random((48, 40), dtype=np.float32)
TRIES = 300


def outcomes(name: str) -> list[tuple[Luma, Luma]]:
    return [AUGMENTATIONS[name](A, B, np.random.default_rng(seed)) for seed in range(TRIES)]


def share(happened: list[bool]) -> float:
    return sum(happened) / len(happened)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_crops_stay_crops(name: str) -> None:
    for a, b in outcomes(name)[:100]:
        for x in (a, b):
            assert x.shape == A.shape
            assert x.dtype == np.float32
            assert 0 <= x.min() <= x.max() <= 1


def test_all_of_them_one_after_another_depend_on_the_generator_alone() -> None:
    def drawn(seed: int) -> bytes:
        a, b = augment(A, B, AUGMENTATIONS, np.random.default_rng(seed))
        return a.tobytes() + b.tobytes()

    assert [drawn(seed) for seed in range(60)] == [drawn(seed) for seed in range(60)]
    assert len({drawn(seed) for seed in range(60)}) > 50


def test_flips_mirror_both_alike() -> None:
    seen = set()
    for a, b in outcomes("flip"):
        flips = [(r, c) for r in (1, -1) for c in (1, -1) if (A[::r, ::c] == a).all()]
        assert len(flips) == 1
        assert (B[:: flips[0][0], :: flips[0][1]] == b).all()
        seen.add(flips[0])
    assert len(seen) == 4


def test_exchange_and_inversion_come_as_often_as_they_say() -> None:
    assert share([(a is B and b is A) for a, b in outcomes("exchange")]) == pytest.approx(0.3, abs=0.08)
    assert all((a is A and b is B) or (a is B and b is A) for a, b in outcomes("exchange"))
    assert share([np.allclose(a, 1 - A) for a, _ in outcomes("invert")]) == pytest.approx(0.15, abs=0.06)
    assert share([np.allclose(b, 1 - B) for _, b in outcomes("invert")]) == pytest.approx(0.15, abs=0.06)


def test_softening_blurs_one_source_and_keeps_its_brightness() -> None:
    changed = [(a, b) for a, b in outcomes("soften") if a is not A or b is not B]
    assert len(changed) / TRIES == pytest.approx(0.2, abs=0.07)
    for a, b in changed:
        assert (a is A) != (b is B)
        blurred, sharp = (b, B) if a is A else (a, A)
        assert blurred.std() < 0.7 * sharp.std()
        assert blurred.mean() == pytest.approx(sharp.mean(), abs=0.05)


def test_softening_takes_mirrored_views() -> None:
    for seed in range(30):
        AUGMENTATIONS["soften"](A[::-1, ::-1], B[::-1], np.random.default_rng(seed))


def test_tone_keeps_the_order_of_grey_levels() -> None:
    order = np.argsort(A, axis=None)
    changed = [a for a, _ in outcomes("tone") if a is not A]
    assert len(changed) / TRIES == pytest.approx(0.4, abs=0.1)
    assert all((np.diff(a.ravel()[order]) >= 0).all() for a in changed)


def test_dimming_darkens_both_in_whole_grey_levels() -> None:
    changed = [(a, b) for a, b in outcomes("dim") if a is not A]
    assert len(changed) / TRIES == pytest.approx(0.15, abs=0.06)
    for a, b in changed:
        assert 0.08 < a.mean() / A.mean() < 0.52
        assert 0.08 < b.mean() / B.mean() < 0.52
        assert np.allclose(a * 255, np.round(a * 255), atol=1e-4)


def test_masks_blacken_the_outside_of_both() -> None:
    changed = [(a, b) for a, b in outcomes("mask") if a is not A]
    assert len(changed) / TRIES == pytest.approx(0.2, abs=0.07)
    outside = [(a < 1e-3) & (b < 1e-3) for a, b in changed]
    assert share([bool(out.mean() > 0.1) for out in outside]) > 0.3
    inside_kept = [bool((np.abs(a - A) < 0.05).mean() > 0.1) for a, _ in changed]
    assert share(inside_kept) > 0.3


def test_a_neighbouring_band_has_the_edges_of_a_and_leaves_a_alone() -> None:
    changed = [(a, b) for a, b in outcomes("neighbour") if b is not B]
    assert len(changed) / TRIES == pytest.approx(0.2, abs=0.07)
    for a, b in changed:
        assert a is A
        assert np.corrcoef(b.ravel(), A.ravel())[0, 1] > abs(np.corrcoef(b.ravel(), B.ravel())[0, 1])
