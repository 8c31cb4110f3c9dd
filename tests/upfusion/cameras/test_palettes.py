import io

import cv2
import numpy as np
import pytest
from PIL import Image

from upfusion.cameras.palettes import PALETTES, colourise, match_palette, to_values


def scene(seed, height=120, width=160):
    """A thermal scene: a smooth background, things in it, noise, stretched as a camera does."""
    dice = np.random.default_rng(seed)
    field = cv2.GaussianBlur(dice.normal(size=(height, width)).astype(np.float32), (0, 0), dice.uniform(8, 25))
    field = (field - field.min()) / np.ptp(field) * dice.uniform(0.3, 0.8) + np.linspace(0, 0.3, height)[:, None]
    for _ in range(dice.integers(2, 7)):
        centre, axes = dice.integers(0, (width, height)), dice.integers(4, 30, 2)
        mask = cv2.ellipse(np.zeros((height, width), np.float32), centre.tolist(), axes.tolist(), 0, 0, 360, 1, -1)
        mask = cv2.GaussianBlur(mask, (0, 0), 1.2)
        field = field * (1 - mask) + dice.uniform(0, 1.2) * mask
    field += dice.normal(0, 0.006, field.shape)
    low, high = np.percentile(field, (0.5, 99.5))
    return (np.clip((field - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def through_jpeg(pixels, quality=85):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=quality)
    with Image.open(data) as image:
        return np.asarray(image.convert("RGB"))


def correlation(a, b):
    return np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1]


@pytest.mark.parametrize("palette", PALETTES)
def test_a_palette_is_recognised_and_turned_back_into_values(palette):
    for seed in range(4):
        values = scene(seed)
        seen = through_jpeg(colourise(values, palette))
        found = match_palette(seen)
        assert found.name == palette
        assert found.is_sure
        assert correlation(to_values(seen, palette), values) >= 0.98


def test_luma_of_a_rainbow_is_no_temperature():
    values = scene(0)
    luma = cv2.cvtColor(colourise(values, "rainbow"), cv2.COLOR_RGB2GRAY)
    assert correlation(luma, values) < 0.95
    assert correlation(to_values(colourise(values, "rainbow"), "rainbow"), values) > 0.99


def test_grey_is_in_no_palette():
    for seed in range(8):
        assert match_palette(through_jpeg(np.dstack([scene(seed)] * 3))) is None
    assert match_palette(scene(0)) is None


def test_colours_of_the_world_are_in_no_palette():
    dice = np.random.default_rng(0)
    for _ in range(8):
        small = dice.integers(0, 256, (9, 12, 3), np.uint8)
        found = match_palette(cv2.resize(small, (160, 120), interpolation=cv2.INTER_CUBIC))
        assert not found.is_sure


def test_a_scale_and_a_logo_on_top_do_not_matter():
    seen = colourise(scene(1), "iron")
    seen[:, -8:] = 255
    seen[:10, :30] = (0, 80, 255)
    assert match_palette(seen).is_sure


def test_values_survive_without_jpeg():
    ramp = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
    for palette in PALETTES:
        back = to_values(colourise(ramp, palette), palette)
        assert np.abs(back.astype(int) - ramp).mean() < 3
