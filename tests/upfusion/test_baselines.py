import numpy as np
import pytest
from numpy.typing import NDArray

from upfusion.baselines import BASELINES, COPIES, Luma

SIZES = [(48, 60), (47, 61), (33, 16), (17, 15), (7, 5), (2, 1), (1, 1)]


def _levels(height: int, width: int, seed: int) -> Luma:
    return np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.float32)


def _row(*levels: float) -> Luma:
    return np.array([levels], np.float32)


def _contrast(image: NDArray[np.float32], place: tuple[slice, slice]) -> float:
    return float(image[place].std())


def test_the_mean_is_rounded_half_up() -> None:
    fused = BASELINES["mean"](_row(0, 1, 2, 254, 255), _row(0, 2, 5, 255, 255))
    np.testing.assert_array_equal(fused, _row(0, 2, 4, 255, 255))


def test_max_takes_the_brighter_source_at_each_pixel() -> None:
    np.testing.assert_array_equal(BASELINES["max"](_row(0, 9, 255), _row(3, 2, 255)), _row(3, 9, 255))


def test_the_copies_are_the_sources() -> None:
    a, b = _levels(5, 6, 1), _levels(5, 6, 2)
    assert {"a", "b"} == COPIES
    np.testing.assert_array_equal(BASELINES["a"](a, b), a)
    np.testing.assert_array_equal(BASELINES["b"](a, b), b)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_gives_whole_levels_of_the_same_size_and_leaves_its_inputs(name: str, size: tuple[int, int]) -> None:
    a, b = _levels(*size, seed=1), _levels(*size, seed=2)
    before = a.copy(), b.copy()
    fused = BASELINES[name](a, b)
    assert (fused.shape, fused.dtype) == (size, np.float32)
    np.testing.assert_array_equal(fused, np.rint(fused))
    assert 0 <= fused.min() <= fused.max() <= 255
    np.testing.assert_array_equal(a, before[0])
    np.testing.assert_array_equal(b, before[1])


@pytest.mark.parametrize("size", SIZES)
def test_a_pyramid_of_two_equal_sources_is_the_source(size: tuple[int, int]) -> None:
    image = _levels(*size, seed=3)
    np.testing.assert_array_equal(BASELINES["laplacian"](image, image), image)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0)])
def test_a_pyramid_keeps_the_detail_of_each_source_that_the_mean_halves(first: int, second: int) -> None:
    yy, xx = np.mgrid[:48, :60]
    left, right = (slice(16, 32), slice(8, 24)), (slice(16, 32), slice(36, 52))
    planted = np.full((2, 48, 60), 120, np.float32)
    planted[0][left] += 60 * (-1.0) ** (xx + yy)[left]
    planted[1][right] += 60 * (-1.0) ** (xx + yy)[right]
    a, b = planted[first], planted[second]
    fused, averaged = BASELINES["laplacian"](a, b), BASELINES["mean"](a, b)
    for image, place in zip(planted, (left, right), strict=True):
        assert _contrast(averaged, place) == pytest.approx(_contrast(image, place) / 2)
        assert _contrast(fused, place) > 0.9 * _contrast(image, place)


def test_a_pyramid_averages_what_changes_slowly() -> None:
    a, b = np.full((48, 60), 40, np.float32), np.full((48, 60), 101, np.float32)
    np.testing.assert_array_equal(BASELINES["laplacian"](a, b), np.full((48, 60), 71))


def test_images_too_small_for_a_pyramid_are_averaged() -> None:
    a, b = _levels(7, 5, 1), _levels(7, 5, 2)
    np.testing.assert_array_equal(BASELINES["laplacian"](a, b), BASELINES["mean"](a, b))
