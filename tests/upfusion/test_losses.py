import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from upfusion.feature_loss import feature_loss
from upfusion.fidelity_loss import fidelity_loss
from upfusion.losses import (
    LossWeights,
    fusion_loss,
    gradient_loss,
    intensity_loss,
    sobel_magnitude,
    structure_loss,
)


def test_intensity_is_the_distance_to_the_brighter_source() -> None:
    a = torch.tensor([[[[0.1, 0.9]]]])
    b = torch.tensor([[[[0.5, 0.2]]]])
    assert intensity_loss(a, b, torch.tensor([[[[0.5, 0.7]]]])).item() == pytest.approx(0.1)
    assert intensity_loss(a, b, torch.maximum(a, b)).item() == 0


def test_sobel_measures_both_directions() -> None:
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    ramp = (2 * rows + 3 * columns)[None, None]
    assert sobel_magnitude(ramp)[..., 1:-1, 1:-1].unique().tolist() == [8 * 2 + 8 * 3]


def test_sobel_reflects_at_the_border() -> None:
    x = torch.rand(1, 1, 5, 6)
    inner = sobel_magnitude(F.pad(x, (1, 1, 1, 1), mode="reflect"))[..., 1:-1, 1:-1]
    torch.testing.assert_close(sobel_magnitude(x), inner)
    assert not sobel_magnitude(torch.full((1, 1, 4, 4), 0.7)).abs().gt(1e-6).any()


def test_gradient_is_the_distance_to_the_steeper_source() -> None:
    a, b = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    a[..., :2] = 1
    b[..., 6:] = 1
    both = torch.maximum(a, b)
    assert gradient_loss(a, b, both).item() == 0
    assert gradient_loss(a, b, 1 - both).item() == 0
    assert gradient_loss(a, b, a).item() == pytest.approx(sobel_magnitude(b).mean().item())
    a, b, fused = _three(12)
    steeper = torch.maximum(sobel_magnitude(a), sobel_magnitude(b))
    torch.testing.assert_close(gradient_loss(a, b, fused), (sobel_magnitude(fused) - steeper).abs().mean())


def test_structure_is_one_minus_the_mean_ssim() -> None:
    a, b, fused = _three(40)
    expected = 1 - (_plain_ssim(a, fused) + _plain_ssim(b, fused)) / 2
    assert structure_loss(a, b, fused).item() == pytest.approx(expected.item(), abs=1e-9)
    assert structure_loss(a, a, a).item() == pytest.approx(0, abs=1e-9)


ALL = LossWeights(intensity=2, gradient=3, structure=5, fidelity=7, feature=11)


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    a, b, fused = _three(48)
    terms = fusion_loss(a, b, fused, ALL)
    assert list(terms) == ["loss", "intensity", "gradient", "structure", "fidelity", "feature"]
    expected = 2 * intensity_loss(a, b, fused) + 3 * gradient_loss(a, b, fused) + 5 * structure_loss(a, b, fused)
    expected = expected + 7 * fidelity_loss(a, b, fused) + 11 * feature_loss(a, b, fused)
    torch.testing.assert_close(terms["loss"], expected)


def test_every_term_is_the_mean_of_its_crops() -> None:
    # Or the losses would depend on how a batch is spread over workers.
    a, b, fused = _three(48)
    together = fusion_loss(a, b, fused, ALL)
    apart = [fusion_loss(a[n : n + 1], b[n : n + 1], fused[n : n + 1], ALL) for n in range(2)]
    for name, value in together.items():
        torch.testing.assert_close(value, (apart[0][name] + apart[1][name]) / 2)


def test_the_paper_has_no_structure_term() -> None:
    # 8x8 pixels have no 11x11 window.
    a, b, fused = _three(8)
    terms = fusion_loss(a, b, fused, LossWeights())
    assert "structure" not in terms
    torch.testing.assert_close(terms["loss"], intensity_loss(a, b, fused) + gradient_loss(a, b, fused))


@pytest.mark.parametrize("weights", [LossWeights(), LossWeights(intensity=0, gradient=0, structure=1)])
def test_descending_the_loss_improves_the_image(weights: LossWeights) -> None:
    a, b, fused = _three(24)
    fused.requires_grad_()
    before = fusion_loss(a, b, fused, weights)["loss"]
    before.backward()
    assert fused.grad is not None
    assert fused.grad.isfinite().all()
    after = fusion_loss(a, b, fused.detach() - 1e-3 * fused.grad / fused.grad.abs().max(), weights)["loss"]
    assert after < before


def _three(side: int) -> tuple[Tensor, Tensor, Tensor]:
    images = torch.rand(3, 2, 1, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, b, fused = images.unbind()
    return a, b, 0.4 * a + 0.4 * b + 0.2 * fused


def _plain_ssim(x: Tensor, y: Tensor) -> Tensor:
    steps = torch.arange(11, dtype=x.dtype) - 5
    window = torch.exp(-(steps[:, None] ** 2 + steps**2) / (2 * 1.5**2))[None, None]
    window /= window.sum()
    x_mean, y_mean = F.conv2d(x, window), F.conv2d(y, window)
    x_variance = F.conv2d(x * x, window) - x_mean**2
    y_variance = F.conv2d(y * y, window) - y_mean**2
    covariance = F.conv2d(x * y, window) - x_mean * y_mean
    luminance = (2 * x_mean * y_mean + 0.01**2) / (x_mean**2 + y_mean**2 + 0.01**2)
    return (luminance * (2 * covariance + 0.03**2) / (x_variance + y_variance + 0.03**2)).mean()
