import pytest
import torch
from torch import Tensor

from upfusion import fidelity_loss as module
from upfusion.fidelity_loss import fidelity, fidelity_loss
from upfusion.metrics.vif import vif_per_source


def textures(crops: int = 2, side: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2 * crops, 1, side // 8, side // 8, generator=generator, dtype=torch.float64)
    fine = torch.rand(2 * crops, 1, side, side, generator=generator, dtype=torch.float64)
    images = 0.7 * torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic") + 0.3 * fine
    return images[:crops].clamp(0, 1), images[crops:].clamp(0, 1)


def test_it_is_the_vif_of_the_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = textures()
    fused = 0.6 * a + 0.4 * b
    expected = vif_per_source(255 * a, 255 * b, 255 * fused)
    monkeypatch.setattr(module, "FLAT", 0.0)
    torch.testing.assert_close(fidelity(a, b, fused), expected, atol=1e-4, rtol=1e-4)
    balanced = 2 * expected.prod(1) / expected.sum(1)
    assert fidelity_loss(a, b, fused).item() == pytest.approx(1 - balanced.mean().item(), abs=1e-3)


def test_a_copy_of_one_source_is_worse_than_a_mixture() -> None:
    a, b = textures()
    assert fidelity_loss(a, b, (a + b) / 2) < fidelity_loss(a, b, a) - 0.1
    assert fidelity_loss(a, a, a).item() == pytest.approx(0, abs=0.05)


def test_black_crops_have_a_finite_gradient() -> None:
    black = torch.zeros(1, 1, 48, 48)
    fused = torch.full((1, 1, 48, 48), 0.1, requires_grad=True)
    fidelity_loss(black, black, fused).backward()
    assert fused.grad is not None
    assert fused.grad.isfinite().all()


def test_the_smallest_crop_leaves_a_window() -> None:
    a, b = (x[..., :41, :41] for x in textures())
    assert fidelity_loss(a, b, a).isfinite()
