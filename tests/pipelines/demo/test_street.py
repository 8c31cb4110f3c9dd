from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.demo.street import draw_pair, write_archive
from pipelines.demo.street.scene import compose
from pipelines.demo.street.things import DARK, Scene
from pipelines.demo.street.view import lay_out

SEEDS = range(3)
LUMA = np.array([0.299, 0.587, 0.114])


@pytest.fixture(scope="module")
def streets() -> list[tuple[Scene, np.ndarray, np.ndarray]]:
    """Scenes with their visible (H, W, 3) and infrared image, as floats in 0 to 255."""
    found = []
    for seed in SEEDS:
        visible, infrared = draw_pair(np.random.default_rng(seed), 640, 480)
        scene = compose(np.random.default_rng(seed), 640, 480)
        found.append((scene, visible.astype(float), infrared.astype(float)))
    return found


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.png"))
    }


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    assert write_archive(folder, count=2, seed=3) == ["street_001.png", "street_002.png"]
    return folder


def test_archive_holds_one_visible_and_one_infrared_image_a_name(archive):
    names = ["street_001.png", "street_002.png"]
    assert sorted(digests(archive)) == [f"{sensor}/{name}" for sensor in ("infrared", "visible") for name in names]
    for sensor, mode in (("visible", "RGB"), ("infrared", "L")):
        with Image.open(archive / sensor / "street_002.png") as image:
            assert (image.mode, image.size) == (mode, (640, 480))


def test_archive_repeats_by_seed_and_grows_by_count(archive, tmp_path):
    write_archive(tmp_path / "same", count=1, seed=3)
    write_archive(tmp_path / "other", count=1, seed=4)
    whole, same, other = digests(archive), digests(tmp_path / "same"), digests(tmp_path / "other")
    assert len(same) == 2
    assert same.items() <= whole.items()
    assert len(set(whole.values())) == 4
    assert not set(whole.values()) & set(other.values())


@pytest.mark.parametrize(("width", "height"), [(160, 120), (161, 121)])
def test_pair_has_the_requested_size(width, height):
    visible, infrared = draw_pair(np.random.default_rng(0), width, height)
    assert (visible.shape, visible.dtype) == ((height, width, 3), np.uint8)
    assert (infrared.shape, infrared.dtype) == ((height, width), np.uint8)


def test_scenes_differ_in_layout(streets):
    scenes = [scene for scene, _, _ in streets]
    assert len({scene.camera[2:] for scene in scenes}) == len(scenes)
    assert len({len(scene.people) for scene in scenes}) > 1
    assert len({len(scene.cars) for scene in scenes}) > 1


def contrasts_of_people(scene: Scene, image: np.ndarray) -> list[float]:
    """Mean of each trunk and head less that of the strips on both sides, where these are in the image."""
    contrasts = []
    for x, z, height in scene.people:
        corners = np.array([(x - 0.9, height, z), (x - 0.12, height, z), (x + 0.12, 0.9, z), (x + 0.9, 0.9, z)])
        (left, top), (start, _), (stop, bottom), (right, _) = scene.camera.project(corners).round().astype(int)
        if left >= 0 and right <= image.shape[1]:
            rows = image[top:bottom]
            around = np.concatenate([rows[:, left : start - 4], rows[:, stop + 4 : right]], axis=1)
            contrasts.append(rows[:, start:stop].mean() - around.mean())
    return contrasts


def test_people_are_seen_in_infrared_and_hidden_in_visible(streets):
    infrared = np.concatenate([contrasts_of_people(scene, image) for scene, _, image in streets])
    visible = np.concatenate([contrasts_of_people(scene, image @ LUMA) for scene, image, _ in streets])
    assert len(infrared) >= 10
    assert np.median(infrared) > 90
    assert np.median(np.abs(visible)) < 30
    assert np.mean(infrared > np.abs(visible)) > 0.9


def test_coloured_neon_letters_are_seen_in_visible_alone(streets):
    for scene, visible, infrared in streets:
        index = lay_out(scene).index_hw[::2, ::2]
        high = [patch.corners[:, 1].min() > 3.5 for patch in scene.patches]
        letters = [h and 3 < max(p.glow) < 10 for h, p in zip(high, scene.patches, strict=True)]
        panels = [h and tuple(p.albedo) == DARK and p.heat < 0.3 for h, p in zip(high, scene.patches, strict=True)]
        lettered, panelled = (np.isin(index, np.flatnonzero(kind) + 1) for kind in (letters, panels))
        assert lettered.sum() > 100
        assert (visible @ LUMA)[lettered].mean() > (visible @ LUMA)[panelled].mean() + 40
        assert np.ptp(visible[lettered], axis=1).mean() > 40
        assert abs(infrared[lettered].mean() - infrared[panelled].mean()) < 6
