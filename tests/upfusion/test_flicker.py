import pytest
import torch

from upfusion.flicker import change_ratio, flicker


def film(*levels: float) -> torch.Tensor:
    return torch.tensor(levels, dtype=torch.float32)[:, None, None, None].expand(-1, 1, 4, 6).contiguous()


def test_a_change_that_a_source_makes_is_no_flicker():
    still, moving = film(10, 10, 10), film(10, 40, 20)
    for a, b in ((still, moving), (moving, still)):
        assert flicker(a, b, moving).tolist() == [0, 0]
        assert change_ratio(a, b, moving).tolist() == [1, 1]


def test_a_change_that_no_source_makes_is_flicker_in_grey_levels():
    still, moving = film(10, 10, 10), film(50, 56, 50)
    assert flicker(still, still, moving).tolist() == [6, 6]
    assert change_ratio(still, still, moving).isnan().all()
    assert flicker(still, film(10, 12, 10), moving).tolist() == [4, 4]
    assert change_ratio(still, film(10, 12, 10), moving).tolist() == [3, 3]


def test_it_is_looked_at_pixel_by_pixel():
    a, f = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    a[1, 0, 0, 0] = 8  # a source changes here,
    f[1, 0, 1, 1] = 8  # and the fused image there
    assert flicker(a, torch.zeros_like(a), f).tolist() == [2]
    assert change_ratio(a, torch.zeros_like(a), f).tolist() == [1]


def test_a_fused_film_that_smears_motion_has_a_low_ratio():
    a = film(0, 100)
    assert change_ratio(a, a, film(0, 25)).tolist() == [0.25]
    assert flicker(a, a, film(0, 25)).tolist() == [0]


def test_one_frame_has_no_change():
    assert flicker(film(1), film(1), film(1)).shape == change_ratio(film(1), film(1), film(1)).shape == (0,)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="shape"):
        flicker(film(1, 2), film(1), film(1, 2))
