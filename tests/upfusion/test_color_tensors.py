"""Colour on tensors does what color.py does on arrays."""

import numpy as np
import pytest
import torch

from upfusion import color
from upfusion.color_tensors import exchange_luma, luma, luma8, to_array, to_device, white_level

CPU = torch.device("cpu")
SHAPES = [(37, 53), (37, 53, 3)]


def noise(shape: tuple[int, ...], dtype: type) -> color.Pixels:
    pixels = np.random.default_rng(len(shape)).integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)
    pixels.flags.writeable = False  # as rows hold them
    return pixels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", SHAPES)
def test_luma_is_that_of_arrays(shape, dtype):
    image = noise(shape, dtype)
    sent = to_device(image, CPU)
    assert white_level(sent) == np.iinfo(dtype).max
    np.testing.assert_array_equal(to_array(sent), image)
    assert to_array(sent).dtype == dtype
    np.testing.assert_allclose(luma(sent).numpy(), color.luma(image), rtol=0, atol=2e-7)
    np.testing.assert_array_equal(luma8(sent).numpy(), color.luma8(image))


def test_every_level_of_16_bits_has_the_luma8_that_arrays_give_it():
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(luma8(to_device(levels, CPU)).numpy(), color.luma8(levels))
    colours = np.stack([levels, levels[::-1], levels.T], axis=-1)
    np.testing.assert_array_equal(luma8(to_device(colours, CPU)).numpy(), color.luma8(colours))


@pytest.mark.parametrize("rule", color.COLOR_RULES)
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_exchanged_luma_is_that_of_arrays_but_for_ties(shape, dtype, deep, rule):
    image = noise(shape, dtype)
    fused = np.random.default_rng(9).normal(0.5, 0.4, shape[:2]).astype(np.float32)
    out = np.dtype(np.uint16 if deep else dtype)
    expected = color.exchange_luma(image, fused, out, rule).astype(int)
    found = to_array(exchange_luma(to_device(image, CPU), torch.from_numpy(fused), int(np.iinfo(out).max), rule))
    assert found.dtype == out
    difference = np.abs(found - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < (1e-3 if out == np.uint8 else 0.05)
