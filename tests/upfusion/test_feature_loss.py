import pytest
import torch
from torch import Tensor

from upfusion.blur import gaussian_blur
from upfusion.feature_loss import congruency_maps, feature_loss
from upfusion.metrics.phase_congruency import phase_congruency


def edges(seed: int = 0, side: int = 64) -> Tensor:
    """Two crops of bright rectangles on a textured ground."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.2 + 0.02 * torch.rand(2, 1, side, side, generator=generator)
    for image in images:
        for _ in range(4):
            top, left = torch.randint(4, side - 24, (2,), generator=generator).tolist()
            image[0, top : top + 16, left : left + 12] += 0.3
    return images.clamp(0, 1)


def soft(x: Tensor) -> Tensor:
    return gaussian_blur(torch.nn.functional.pad(x, (6, 6, 6, 6), mode="reflect"), 13, 3.0)


@pytest.mark.parametrize("size", [(64, 64), (48, 66)])
def test_the_maps_are_those_of_the_metric(size: tuple[int, int]) -> None:
    images = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(congruency_maps(images), phase_congruency(255 * images), atol=1e-3, rtol=1e-3)


def test_what_keeps_the_features_of_both_sources_loses_less() -> None:
    a, b = edges(0), edges(1)
    both = torch.maximum(a, b)
    assert feature_loss(a, b, both) < feature_loss(a, b, a) < feature_loss(a, b, soft(a))
    assert feature_loss(a, b, soft(both)) > feature_loss(a, b, both) + 0.1


def test_contrast_does_not_matter() -> None:
    a, b = edges(0), edges(1)
    whole, half = feature_loss(a, b, a), feature_loss(a, b, 0.5 * a)
    assert whole.item() == pytest.approx(half.item(), abs=0.05)


def test_black_crops_have_a_finite_gradient() -> None:
    black = torch.zeros(1, 1, 48, 48)
    fused = torch.full((1, 1, 48, 48), 0.1, requires_grad=True)
    feature_loss(black, black, fused).backward()
    assert fused.grad is not None
    assert fused.grad.isfinite().all()


def test_descending_it_brings_the_features_back() -> None:
    a, b = edges(0), edges(1)
    fused = soft(torch.maximum(a, b)).requires_grad_()
    before = feature_loss(a, b, fused)
    before.backward()
    assert fused.grad is not None
    after = feature_loss(a, b, (fused - 1e-3 * fused.grad / fused.grad.abs().max()).detach())
    assert after < before
