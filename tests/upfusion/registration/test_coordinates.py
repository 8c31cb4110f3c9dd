import numpy as np
import pytest

from upfusion.registration.coordinates import (
    apply,
    concentric,
    corner_distance,
    corners,
    distance,
    normalised,
    overlap,
    resizing,
    similarity,
    translation,
)


def test_resizing_keeps_the_edges_of_the_outermost_pixels() -> None:
    edges = np.array([[-0.5, -0.5], [511.5, 424.5]])
    assert apply(resizing((512, 425), (256, 212)), edges) == pytest.approx(np.array([[-0.5, -0.5], [255.5, 211.5]]))


def test_cameras_of_one_aspect_ratio_cover_each_other() -> None:
    half = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    moved = apply(concentric((512, 425), (256, 212)), corners((256, 212)) + half)
    assert moved == pytest.approx(corners((512, 425)) + half)


def test_pixels_stay_square_where_aspect_ratios_differ() -> None:
    matrix = concentric((1920, 1080), (640, 512))
    assert matrix[0, 0] == matrix[1, 1]
    assert apply(matrix, np.array([319.5, 255.5])) == pytest.approx(np.array([959.5, 539.5]))


def test_a_point_behind_the_horizon_is_nan() -> None:
    tilted = np.array([[1.0, 0, 0], [0, 1, 0], [-0.01, 0, 1]])
    assert np.isnan(apply(tilted, np.array([200.0, 0.0]))).all()


def test_distances_of_a_shift() -> None:
    size = (640, 480)
    moved = translation(3, 4)
    assert distance(np.eye(3), moved, size, size) == pytest.approx(5)
    assert corner_distance(np.eye(3), moved, size) == pytest.approx(5)
    assert np.isnan(distance(translation(1000, 0), moved, size, size))


def test_overlap_is_the_share_of_a_that_b_sees() -> None:
    half = similarity(0.5, 0.0, (319.5, 239.5))
    assert overlap(half, (640, 480), (640, 480)) == pytest.approx(0.25, abs=0.02)
    assert overlap(np.linalg.inv(half), (640, 480), (640, 480)) == 1


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.eye(2), "shape"),
        (np.diag([1.0, np.nan, 1.0]), "finite"),
        (np.diag([1.0, 1.0, 0.0]), "last"),
        (np.ones((3, 3)), "singular"),
    ],
)
def test_what_is_no_transform_is_refused(matrix: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        normalised(matrix)
