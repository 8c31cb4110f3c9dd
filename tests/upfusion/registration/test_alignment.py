import numpy as np
import pytest

from tests.upfusion.registration.scenes import SIZE, scene, seen_through
from upfusion.registration.alignment import alignment_score
from upfusion.registration.coordinates import middle, similarity, translation


def test_a_registered_pair() -> None:
    for seed in range(3):
        found = alignment_score(*scene(seed))
        assert found is not None
        assert found.score > 0.9
        assert found.describe() == "registered"


@pytest.mark.parametrize(
    ("moved", "pixels"),
    [
        (translation(8, 0), 8),
        (translation(-10, 12), 15.6),
        (similarity(1.05, 0, middle(SIZE)), 5),
        (similarity(1, 3, middle(SIZE)), 5.5),
    ],
)
def test_a_displaced_pair_is_reported_with_the_distance(moved: np.ndarray, pixels: float) -> None:
    a, b = scene(0)
    found = alignment_score(a, seen_through(moved, b))
    assert found is not None
    assert found.misaligned
    assert found.displacement == pytest.approx(pixels, rel=0.3)
    assert f"{found.displacement:.0f} px" in found.describe()


def test_pixels_are_those_of_the_image() -> None:
    a, b = (np.kron(x, np.ones((4, 4), np.uint8)) for x in scene(0))
    found = alignment_score(a, seen_through(translation(40, 0), b, (1280, 960)))
    assert found is not None
    assert found.displacement == pytest.approx(40, rel=0.1)


def test_another_scene_has_no_common_structure() -> None:
    found = alignment_score(scene(0)[0], scene(1)[1])
    assert found is not None
    assert found.misaligned


def test_colour_and_depth_do_not_matter() -> None:
    a, b = scene(0)
    colour = np.stack([a, a, a], axis=-1)
    deep = (20000 + 8 * b.astype(np.uint16)).astype(np.uint16)
    found = alignment_score(colour, deep)
    assert found is not None
    assert found.score > 0.9


@pytest.mark.parametrize("b", [np.full((240, 320), 90, np.uint8), np.zeros((240, 320), np.uint16)])
def test_nothing_is_said_of_a_flat_image(b: np.ndarray) -> None:
    assert alignment_score(scene(0)[0], b) is None


def test_nothing_is_said_of_a_tiny_image() -> None:
    assert alignment_score(*(x[:40, :40] for x in scene(0))) is None


def test_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="size"):
        alignment_score(scene(0)[0], scene(0)[1][:100])
