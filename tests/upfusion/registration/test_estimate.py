from pathlib import Path

import cv2
import numpy as np
import pytest

import upfusion
from tests.upfusion.registration.scenes import (
    SIZE,
    Pixels,
    planted,
    scene,
    search_one_turn,
    seen_through,
    unregistered,
    views_of,
)
from upfusion.images import read_image
from upfusion.registration.coordinates import apply, distance, resizing
from upfusion.registration.cubic_field import CubicField
from upfusion.registration.estimate import estimate_from_views, fit_field, least_score, same_sizes
from upfusion.registration.rig import Rig, RigError

DATA = Path(__file__).parents[4] / "shared" / "data"


def test_a_planted_transform_is_found() -> None:
    truth = planted()
    rig = upfusion.estimate_rig(unregistered(4, truth))
    assert distance(truth, rig.matrix, SIZE, SIZE) < 0.1
    assert rig.pairs == 4
    assert rig.score is not None
    assert rig.score > 0.7
    assert rig.uncertainty is not None
    assert rig.uncertainty < 0.2
    assert rig.overlap == pytest.approx(0.99, abs=0.02)


def test_a_camera_of_half_the_size_is_no_obstacle() -> None:
    half = (SIZE[0] // 2, SIZE[1] // 2)
    truth = planted() @ resizing(half, SIZE)
    pairs = [(a, seen_through(truth, b, half)) for a, b in (scene(seed) for seed in range(2))]
    rig = estimate_from_views(views_of(pairs))
    assert rig.b_size == half
    assert distance(truth, rig.matrix, SIZE, half) < 0.5


@pytest.mark.parametrize("scale", [0.55, pytest.param(1.8, marks=pytest.mark.extended)])
def test_fields_of_view_may_differ_by_a_factor_of_two(scale: float) -> None:
    truth = planted(scale, 2, (6, 4))
    rig = estimate_from_views(views_of(unregistered(2, truth)))
    assert distance(truth, rig.matrix, SIZE, SIZE) < 0.5


def test_a_camera_may_be_turned_and_mirrored() -> None:
    truth = planted(1.05, 2, (6, 4))
    pairs = [(a, np.rot90(b)[:, ::-1].copy()) for a, b in unregistered(1, truth)]
    rig = estimate_from_views(views_of(pairs))
    in_b = np.array([[50.0, 60.0], [200.0, 100.0], [120.0, 180.0]])
    turned = np.stack([SIZE[1] - 1 - in_b[:, 1], SIZE[0] - 1 - in_b[:, 0]], axis=-1)
    assert apply(rig.matrix, turned) == pytest.approx(apply(truth, in_b), abs=0.3)


def test_pairs_of_different_scenes_are_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    search_one_turn(monkeypatch)
    pairs = [(scene(0)[0], scene(100)[1])]
    with pytest.raises(RigError, match=r"score 0\.\d\d, expected at least 0\.\d\d.*13 to 16 pairs"):
        upfusion.estimate_rig(pairs)


def test_no_pairs_are_refused() -> None:
    with pytest.raises(RigError, match="one pair"):
        upfusion.estimate_rig([])


def test_flat_images_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    search_one_turn(monkeypatch)
    flat = np.full((120, 160), 90, np.uint8)
    with pytest.raises(RigError, match="structure"):
        upfusion.estimate_rig([(flat, flat)])


def test_the_most_frequent_sizes_count() -> None:
    small = tuple(x[:120, :160].copy() for x in scene(50))
    views = views_of([small, scene(0), scene(1)])
    assert same_sizes(views) == views[1:]


def test_copies_of_one_pair_count_as_one() -> None:
    one = views_of([scene(0)])
    assert least_score(one * 8) == least_score(one) > least_score(views_of([scene(seed) for seed in range(6)]))


def test_the_distortion_of_a_lens_is_found_beyond_the_matrix() -> None:
    field = CubicField((0, 0, 0, 0, 0, 0, 3.0, 0, 3.0, 0), (0, 0, 0, 0, 0, 0, 0, 3.0, 0, 3.0))
    rig = Rig(SIZE, SIZE, np.eye(3), field)
    pairs = [(a, _distorted(rig, b)) for a, b in (scene(seed, shapes=120) for seed in range(4))]
    found = fit_field(views_of(pairs), np.eye(3))
    assert found is not None
    points = np.stack(np.meshgrid(np.linspace(20, 300, 8), np.linspace(20, 220, 6)), axis=-1)
    off = found.at(points, SIZE) - field.at(points, SIZE)
    assert np.hypot(off[..., 0], off[..., 1]).max() < 0.4
    assert np.abs(field.at(points, SIZE)).max() > 2


def _distorted(rig: Rig, b: Pixels) -> Pixels:
    """Return what B shows when the rig is true."""
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    in_a = rig.to_a(np.stack([x, y], axis=-1).astype(np.float64)).astype(np.float32)
    return cv2.remap(b, in_a[..., 0], in_a[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


@pytest.mark.extended
@pytest.mark.skipif(not DATA.exists(), reason="shared/data is not here")
def test_four_real_pairs_of_visible_light_and_infrared() -> None:
    folder = DATA / "m3svd" / "test"
    names = sorted(path.name for path in (folder / "visible").iterdir())[:4]
    images = [tuple(read_image(folder / side / name) for side in ("visible", "infrared")) for name in names]
    size = (640, 480)
    truth = planted(1.1, 3, (32, -20), size)
    rig = upfusion.estimate_rig([(a, seen_through(truth, b, size)) for a, b in images])
    # The set as published is off its own registration by 0.9 px at the corners.
    assert distance(truth, rig.matrix, size, size) < 1.5
