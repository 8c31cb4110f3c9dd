import pytest
import torch

from upfusion.response import RESPONSES, dark_luma, grain, hot_luma, share_of_b


def _scene() -> torch.Tensor:
    """Luma of a grey field with a bright square, a dark half and a ramp: (1, 1, 48, 48)."""
    scene = torch.full((1, 1, 48, 48), 100.0)
    scene[..., 24:] = 20
    scene[..., 4:10, 4:10] = 250
    return scene


def test_the_share_of_b_is_that_of_both_vifs() -> None:
    shares = share_of_b(torch.tensor([0.3, 0.6, 0.0]), torch.tensor([0.3, 0.2, 0.5]))
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.25, 1.0]))
    assert share_of_b(torch.zeros(1), torch.zeros(1)).isnan()


def test_hot_luma_is_that_of_the_target_in_either_source() -> None:
    scene = _scene()
    fused = torch.zeros_like(scene)
    fused[..., 4:10, 4:10] = 200
    dim = torch.full_like(scene, 10.0)
    for a, b in ((scene, dim), (dim, scene)):
        assert hot_luma(a, b, fused).tolist() == [200.0]


def test_hot_luma_is_undefined_without_a_target() -> None:
    even = torch.full((1, 1, 48, 48), 80.0)
    assert hot_luma(even, even, even).isnan()


def test_dark_luma_rises_where_both_sources_are_dark() -> None:
    scene = _scene()
    lifted = scene.clone()
    lifted[..., 30:] += 15
    assert dark_luma(scene, scene, scene).item() == pytest.approx(20, abs=1)
    assert dark_luma(scene, scene, lifted).item() > dark_luma(scene, scene, scene).item() + 8


def test_grain_is_that_of_flat_areas_and_not_of_edges() -> None:
    scene = _scene()
    noisy = scene + 5 * torch.randn(scene.shape, generator=torch.Generator().manual_seed(0))
    assert grain(scene, scene, scene).item() < 0.1
    assert grain(scene, scene, noisy).item() > 2


def test_every_response_gives_one_number_per_pair() -> None:
    a, b, f = torch.rand(3, 4, 1, 32, 40) * 255
    for response in RESPONSES.values():
        assert response(a, b, f).shape == (4,)
