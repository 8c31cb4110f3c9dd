from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from upfusion.feature_loss import feature_loss
from upfusion.fidelity_loss import fidelity_loss
from upfusion.losses import (
    AGREED,
    Crops,
    LossWeights,
    bounds_loss,
    fusion_loss,
    gradient_loss,
    imitation_loss,
    intensity_loss,
    overshoot_loss,
    shares,
    structure_agreed_loss,
    structure_loss,
    wishes_loss,
)
from upfusion.sobel import sobel_magnitude


def test_intensity_is_the_distance_to_the_brighter_source() -> None:
    a = torch.tensor([[[[0.1, 0.9]]]])
    b = torch.tensor([[[[0.5, 0.2]]]])
    assert intensity_loss(_crops(a, b, torch.tensor([[[[0.5, 0.7]]]]))).item() == pytest.approx(0.1)
    assert intensity_loss(_crops(a, b, torch.maximum(a, b))).item() == 0


def test_gradient_is_the_distance_to_the_steeper_source() -> None:
    a, b = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    a[..., :2] = 1
    b[..., 6:] = 1
    both = torch.maximum(a, b)
    assert gradient_loss(_crops(a, b, both)).item() == 0
    assert gradient_loss(_crops(a, b, 1 - both)).item() == 0
    assert gradient_loss(_crops(a, b, a)).item() == pytest.approx(sobel_magnitude(b).mean().item())
    a, b, fused = _three(12)
    steeper = torch.maximum(sobel_magnitude(a), sobel_magnitude(b))
    torch.testing.assert_close(gradient_loss(_crops(a, b, fused)), (sobel_magnitude(fused) - steeper).abs().mean())


def test_structure_is_one_minus_the_harmonic_mean_of_the_ssim() -> None:
    a, b, fused = (image[:1] for image in _three(40))
    with_a, with_b = _plain_ssim(a, fused), _plain_ssim(b, fused)
    expected = 1 - 2 * with_a * with_b / (with_a + with_b)
    assert structure_loss(_crops(a, b, fused)).item() == pytest.approx(expected.item(), abs=1e-4)
    assert structure_loss(_crops(a, a, a)).item() == pytest.approx(0, abs=1e-4)


def test_structure_counts_more_where_both_sources_agree() -> None:
    a, b, fused = (image[:1] for image in _three(40))
    near = a + 0.02 * (b - 0.5)
    agreed = (_plain_ssim(a, near).item() - AGREED) / (1 - AGREED)
    expected = agreed * structure_loss(_crops(a, near, fused)).item()
    assert agreed > 0.5
    assert structure_agreed_loss(_crops(a, near, fused)).item() == pytest.approx(expected, abs=1e-4)
    assert structure_agreed_loss(_crops(a, near, fused, dark=0.5)) == 0  # a lifted dark has less structure
    assert structure_agreed_loss(_crops(a, b, fused)) == 0  # noise and other noise: nothing is common to both


def test_overshoot_is_the_gradient_that_no_source_has() -> None:
    a, b, fused = _three(12)
    steeper = torch.maximum(sobel_magnitude(a), sobel_magnitude(b))
    torch.testing.assert_close(overshoot_loss(_crops(a, b, fused)), F.relu(sobel_magnitude(fused) - steeper).mean())
    assert overshoot_loss(_crops(a, b, a)) == 0
    assert overshoot_loss(_crops(a, b, 2 * a)) > 0.1


def test_bounds_is_how_far_luma_lies_outside_its_range() -> None:
    fused = torch.tensor([[[[-0.5, 0.0, 1.0, 1.25]]]])
    assert bounds_loss(_crops(fused, fused, fused)).item() == pytest.approx(0.75 / 4)


@pytest.mark.parametrize(("balance", "of_b"), [(-1, 0.1), (0, 0.5), (1, 0.9)])
def test_a_balance_shifts_the_shares_and_never_drops_a_source(balance: float, of_b: float) -> None:
    torch.testing.assert_close(shares(torch.tensor([[balance, 0, 0, 0.0]])), torch.tensor([[1 - of_b, of_b]]))


@pytest.mark.parametrize("term", ["structure", "fidelity", "gradient"])
def test_a_balance_prefers_the_source_it_names(term: str) -> None:
    a, b, _ = _three(48)
    weights = LossWeights(**{**dict.fromkeys(("intensity", "gradient"), 0.0), term: 1.0})
    near_a, near_b = 0.8 * a + 0.2 * b, 0.2 * a + 0.8 * b
    for balance, better, worse in ((-1.0, near_a, near_b), (1.0, near_b, near_a)):
        losses = [fusion_loss(_crops(a, b, x, balance=balance), weights)["loss"] for x in (better, worse)]
        assert losses[0] < losses[1]


def test_bright_targets_are_missed_more_when_they_are_wished_for() -> None:
    a, b = torch.full((1, 1, 32, 32), 0.2), torch.full((1, 1, 32, 32), 0.2)
    b[..., 12:20, 12:20] = 0.9
    missed, wished = (wishes_loss(_crops(a, b, a, hot=hot)).item() for hot in (0.0, 1.0))
    assert wished == pytest.approx(4 * missed)
    assert missed > 0.05
    assert wishes_loss(_crops(a, b, b, hot=1.0)) == 0


def test_the_dark_is_to_be_lifted_where_that_is_wished() -> None:
    dark = torch.full((1, 1, 32, 32), 0.1)
    lifted = 0.4 * (0.1 / 0.4) ** 0.6
    assert wishes_loss(_crops(dark, dark, dark)) == 0
    assert wishes_loss(_crops(dark, dark, dark, dark=1.0)).item() == pytest.approx(4 * (lifted - 0.1), rel=1e-3)
    assert wishes_loss(_crops(dark, dark, dark + lifted, dark=1.0)) == 0


def test_imitation_is_the_distance_to_what_a_teacher_made_and_to_its_differences() -> None:
    a, b, fused = _three(16)
    crops = replace(_crops(a, b, fused), taught=fused + 0.25)
    assert imitation_loss(crops).item() == pytest.approx(0.25, abs=1e-5)
    stripes = torch.zeros_like(fused)
    stripes[..., ::2] = 0.5
    crops = replace(crops, taught=fused + stripes)
    assert imitation_loss(crops).item() == pytest.approx(0.25 + 0.5, abs=1e-5)
    with pytest.raises(ValueError, match="imitation"):
        imitation_loss(_crops(a, b, fused))


def test_features_may_be_compared_on_the_darkest_crops_alone() -> None:
    a, b, fused = _three(48)
    a, b = (x * torch.tensor([0.9, 0.4])[:, None, None, None] for x in (a, b))
    weights = LossWeights(intensity=0, gradient=0, feature=1)
    half = fusion_loss(_crops(a, b, fused), weights, feature_share=0.5)["feature"]
    torch.testing.assert_close(half, feature_loss(a[1:], b[1:], fused[1:]))


ALL = LossWeights(
    intensity=2,
    gradient=3,
    overshoot=4,
    structure=5,
    structure_agreed=6,
    fidelity=7,
    feature=11,
    bounds=13,
    wishes=17,
)


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    a, b, fused = _three(48)
    terms = fusion_loss(_crops(a, b, fused), ALL)
    assert list(terms) == [
        "loss",
        "intensity",
        "gradient",
        "overshoot",
        "structure",
        "structure_agreed",
        "fidelity",
        "feature",
        "bounds",
        "wishes",
    ]
    expected = (
        2 * intensity_loss(_crops(a, b, fused))
        + 3 * gradient_loss(_crops(a, b, fused))
        + 5 * structure_loss(_crops(a, b, fused))
    )
    expected = expected + 7 * fidelity_loss(a, b, fused) + 11 * feature_loss(a, b, fused)
    crops = _crops(a, b, fused)
    expected = expected + 4 * overshoot_loss(crops) + 13 * bounds_loss(crops) + 17 * wishes_loss(crops)
    expected = expected + 6 * structure_agreed_loss(crops)
    torch.testing.assert_close(terms["loss"], expected)


def test_every_term_is_the_mean_of_its_crops() -> None:
    # Or the losses would depend on how a batch is spread over workers.
    a, b, fused = _three(48)
    together = fusion_loss(_crops(a, b, fused), ALL)
    apart = [fusion_loss(_crops(a, b, fused)[n : n + 1], ALL) for n in range(2)]
    for name, value in together.items():
        torch.testing.assert_close(value, (apart[0][name] + apart[1][name]) / 2)


def test_the_paper_has_no_structure_term() -> None:
    # 8x8 pixels have no 11x11 window.
    a, b, fused = _three(8)
    terms = fusion_loss(_crops(a, b, fused), LossWeights())
    assert "structure" not in terms
    torch.testing.assert_close(terms["loss"], intensity_loss(_crops(a, b, fused)) + gradient_loss(_crops(a, b, fused)))


@pytest.mark.parametrize("weights", [LossWeights(), LossWeights(intensity=0, gradient=0, structure=1)])
def test_descending_the_loss_improves_the_image(weights: LossWeights) -> None:
    a, b, fused = _three(24)
    fused.requires_grad_()
    before = fusion_loss(_crops(a, b, fused), weights)["loss"]
    before.backward()
    assert fused.grad is not None
    assert fused.grad.isfinite().all()
    after = fusion_loss(_crops(a, b, fused.detach() - 1e-3 * fused.grad / fused.grad.abs().max()), weights)["loss"]
    assert after < before


def _crops(a: Tensor, b: Tensor, fused: Tensor, **wish: float) -> Crops:
    names = ("balance", "hot", "dark", "quiet")
    return Crops(a, b, fused, a.new_tensor([[wish.get(name, 0.0) for name in names]] * len(a)))


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
