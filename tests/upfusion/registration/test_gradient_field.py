import numpy as np
import pytest

from tests.upfusion.registration.scenes import scene
from upfusion.registration.gradient_field import gradient_field, to_grey


def _agreement(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.vdot(one, other).real / np.sqrt(np.vdot(one, one).real * np.vdot(other, other).real))


def test_reversed_contrast_is_the_same_field() -> None:
    image, _ = scene(0)
    assert _agreement(gradient_field(to_grey(image)), gradient_field(to_grey(255 - image))) > 0.999


def test_other_scenes_do_not_agree() -> None:
    assert abs(_agreement(*(gradient_field(to_grey(scene(seed)[0])) for seed in (0, 1)))) < 0.05


def test_a_quarter_turn_reverses_the_field() -> None:
    """The angle is doubled: a horizontal edge is the opposite of a vertical one."""
    field = gradient_field(to_grey(scene(0)[0]))
    turned = gradient_field(to_grey(np.rot90(scene(0)[0]).copy()))
    assert _agreement(np.rot90(field), turned) < -0.99


def test_nothing_is_left_outside_the_valid_part() -> None:
    valid = np.zeros((240, 320), bool)
    valid[50:100, 60:160] = True
    field = gradient_field(to_grey(scene(0)[0]), valid=valid)
    assert not field[~valid].any()
    assert field[valid].any()


def test_a_flat_image_has_no_field() -> None:
    assert not gradient_field(np.full((64, 64), 100, np.float32)).any()


def test_raw_counts_that_use_a_small_part_of_16_bits_are_stretched() -> None:
    image = scene(0)[0]
    counts = (21000 + 4 * image.astype(np.uint16)).astype(np.uint16)
    assert _agreement(gradient_field(to_grey(counts)), gradient_field(to_grey(image))) > 0.99


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_floats_that_are_not_finite_spoil_nothing(bad: float) -> None:
    degrees = scene(0)[0].astype(np.float32) / 10 + 5
    degrees[3, 4] = bad
    grey = to_grey(degrees)
    assert np.isfinite(grey).all()
    assert grey.min() == 0
    assert grey.max() == 255
    assert not to_grey(np.full((8, 8), bad, np.float32)).any()


def test_colour_becomes_luma() -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    assert to_grey(red)[0, 0] == pytest.approx(76, abs=1)
