from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from upfusion.color import COLOR_RULES, ColorRule, Pixels, exchange_luma, luma, luma8

DEPTHS = [np.uint8, np.uint16]


@pytest.mark.parametrize("dtype", DEPTHS)
@pytest.mark.parametrize(
    ("color", "expected"),
    [((0, 0, 0), 0), ((1, 1, 1), 1), ((1, 0, 0), 0.299), ((0, 1, 0), 0.587), ((0, 0, 1), 0.114), ((1, 1, 0), 0.886)],
)
def test_luma_of_known_colors(dtype: Any, color: tuple[int, int, int], expected: float) -> None:
    image = np.full((2, 3, 3), color, dtype) * np.iinfo(dtype).max
    result = luma(image)
    assert result.dtype == np.float32
    assert result.shape == (2, 3)
    np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", DEPTHS)
def test_grey_is_its_own_luma(dtype: Any) -> None:
    grey = _noise((5, 7), dtype)
    np.testing.assert_allclose(luma(grey), grey / np.iinfo(dtype).max, atol=1e-7)
    np.testing.assert_allclose(luma(np.stack([grey] * 3, axis=-1)), luma(grey), atol=1e-6)


def test_luma8_of_8_bit_color_is_rounded_luma() -> None:
    image = _noise((400, 300, 3), np.uint8)
    result = luma8(image)
    thousandths = image.astype(np.int64) @ [299, 587, 114]
    tie = thousandths % 1000 == 500
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result[~tie], (thousandths[~tie] + 500) // 1000)
    # Half a level has no exact binary form; what is left of the weights' rounding may decide.
    assert np.abs(result[tie] - thousandths[tie] / 1000).max() == 0.5


def test_luma8_agrees_with_the_formula_in_double_precision() -> None:
    image = _noise((400, 300, 3), np.uint8)
    red, green, blue = image.astype(np.float64).transpose(2, 0, 1)
    expected = np.floor(0.299 * red + 0.587 * green + 0.114 * blue + 0.5)
    difference = np.abs(luma8(image) - expected)
    # Only where luma lies half way between two levels, in either formula: one pixel in a thousand does.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize(
    ("color", "level"), [((0, 0, 250), 29), ((250, 0, 250), 103), ((0, 250, 0), 147), ((1, 1, 0), 1)]
)
def test_luma8_rounds_half_up(color: tuple[int, int, int], level: int) -> None:
    assert luma8(np.array([[color]], np.uint8)).item() == level


def test_luma8_of_grey_is_the_grey() -> None:
    levels = np.arange(256, dtype=np.uint8)[None]
    np.testing.assert_array_equal(luma8(levels), levels)
    np.testing.assert_array_equal(luma8(np.stack([levels] * 3, axis=-1)), levels)


def test_luma8_of_16_bits_is_on_the_same_scale() -> None:
    levels = np.arange(256, dtype=np.uint16)[None]
    np.testing.assert_array_equal(luma8(257 * levels), levels)
    np.testing.assert_array_equal(luma8(257 * levels[:, :-1] + 129), levels[:, 1:])
    np.testing.assert_array_equal(luma8(257 * levels[:, :-1] + 128), levels[:, :-1])


@pytest.mark.parametrize("dtype", DEPTHS)
def test_luma_is_exchanged_and_chroma_is_kept(dtype: Any) -> None:
    # A quarter of the range to each side leaves room for every change of luma.
    top = np.iinfo(dtype).max
    image = (top // 4 + _noise((40, 50, 3), dtype) // 2).astype(dtype)
    fused = luma(image) + np.random.default_rng(1).uniform(-0.2, 0.2, (40, 50)).astype(np.float32)
    result = exchange_luma(image, fused)
    assert result.dtype == dtype
    np.testing.assert_allclose(_chroma(result), _chroma(image), atol=1.0)
    np.testing.assert_allclose(luma(result), fused, atol=0.5 / top + 1e-6)


@pytest.mark.parametrize("dtype", DEPTHS)
def test_chroma_is_kept_where_luma_has_no_room(dtype: Any) -> None:
    top = np.iinfo(dtype).max
    image = _noise((40, 50, 3), dtype)
    fused = np.random.default_rng(1).random((40, 50), dtype=np.float32)
    result = exchange_luma(image, fused)
    np.testing.assert_allclose(_chroma(result), _chroma(image), atol=1.0)
    missing = fused - luma(result)
    too_dark, too_bright = missing > 1 / top + 1e-6, missing < -1 / top - 1e-6
    assert too_dark.mean() > 0.1
    assert too_bright.mean() > 0.1
    # Luma went as far as it could.
    assert (result.max(axis=-1)[too_dark] == top).all()
    assert (result.min(axis=-1)[too_bright] == 0).all()


@pytest.mark.parametrize("dtype", DEPTHS)
def test_luma_and_hue_are_kept_where_chroma_may_give_way(dtype: Any) -> None:
    top = np.iinfo(dtype).max
    image = _noise((40, 50, 3), dtype)
    fused = np.random.default_rng(1).random((40, 50), dtype=np.float32)
    result = exchange_luma(image, fused, rule="keep-luma")
    np.testing.assert_allclose(luma(result), fused, atol=0.6 / top + 1e-6)
    (cb, cr), (cb_before, cr_before) = _chroma(result), _chroma(image)
    # Both chroma components are scaled by one factor: the direction in their plane is the hue.
    np.testing.assert_allclose(cb * cr_before, cr * cb_before, atol=1.5 * np.hypot(cb_before, cr_before).max())
    saturation, before = np.hypot(cb, cr), np.hypot(cb_before, cr_before)
    assert (saturation <= before + 1.5).all()
    paler = saturation < before - 2
    assert 0.1 < paler.mean() < 0.9
    # No paler than the luma needs: such a colour touches the edge of the range.
    assert (np.minimum(result.min(axis=-1), top - result.max(axis=-1).astype(int))[paler] <= 1).all()


def test_a_saturated_colour_without_room_shows_what_differs() -> None:
    red = np.full((1, 2, 3), (255, 0, 0), np.uint8)
    fused = np.array([[0.4, 0.6]], np.float32)
    assert (exchange_luma(red, fused)[0, 0] == exchange_luma(red, fused)[0, 1]).all()
    assert luma8(exchange_luma(red, fused, rule="keep-luma")).tolist() == [[102, 153]]


@pytest.mark.parametrize("rule", COLOR_RULES)
@pytest.mark.parametrize("dtype", DEPTHS)
def test_the_same_luma_gives_the_same_image(dtype: Any, rule: ColorRule) -> None:
    image = _noise((20, 30, 3), dtype)
    np.testing.assert_array_equal(exchange_luma(image, luma(image), rule=rule), image)


@pytest.mark.parametrize("dtype", DEPTHS)
def test_grey_stays_grey(dtype: Any) -> None:
    grey = np.stack([_noise((20, 30), dtype)] * 3, axis=-1)
    fused = np.random.default_rng(1).random((20, 30), dtype=np.float32)
    result = exchange_luma(grey, fused)
    assert (result == result[..., :1]).all()
    np.testing.assert_allclose(luma(result), fused, atol=0.6 / np.iinfo(dtype).max)


def test_a_grey_image_becomes_the_fused_luma() -> None:
    fused = np.array([[0.0, 0.5, 1.0]], np.float32)
    assert exchange_luma(np.zeros((1, 3), np.uint8), fused).tolist() == [[0, 128, 255]]
    assert exchange_luma(np.zeros((1, 3), np.uint16), fused).tolist() == [[0, 32768, 65535]]


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3)], ids=["grey", "color"])
def test_luma_outside_the_range_is_clipped(shape: tuple[int, ...]) -> None:
    image = np.full(shape, 100, np.uint8)
    assert (exchange_luma(image, np.full((1, 1), 1.5, np.float32)) == 255).all()
    assert (exchange_luma(image, np.full((1, 1), -0.5, np.float32)) == 0).all()


def test_another_depth_keeps_the_color() -> None:
    image = _noise((10, 12, 3), np.uint8)
    deep = exchange_luma(image, luma(image), np.dtype(np.uint16))
    assert deep.dtype == np.uint16
    np.testing.assert_array_equal(deep, image.astype(np.uint16) * 257)
    np.testing.assert_array_equal(exchange_luma(deep, luma(deep), np.dtype(np.uint8)), image)


def _chroma(image: Pixels) -> NDArray[np.float64]:
    """Cb and Cr in levels of the image's own depth."""
    red, green, blue = image.astype(np.float64).transpose(2, 0, 1)
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.stack([(blue - y) / 1.772, (red - y) / 1.402])


def _noise(shape: tuple[int, ...], dtype: Any) -> Pixels:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
