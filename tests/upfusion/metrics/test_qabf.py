import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from upfusion.metrics.qabf import qabf

from .conftest import Scene
from .oracles import Case, assert_agrees, oracle

SAME_ORIENTATION = 0.9879 / (1 + math.exp(-22 * 0.2))


@oracle("UPF_Qabf")
def test_agrees_with_the_field(case: Case) -> None:
    assert_agrees("qabf", case)


def test_agrees_with_the_plain_formula(scene: Scene) -> None:
    a, b, f = scene
    length, angle = zip(*(_gradient(image[:1]) for image in scene), strict=True)
    kept = sum((_quality(length[i], angle[i], length[2], angle[2]) * length[i]).sum() for i in (0, 1))
    expected = kept / (length[0] + length[1]).sum()
    torch.testing.assert_close(qabf(a, b, f)[0], expected, rtol=1e-9, atol=0)


def test_half_the_contrast(scene: Scene) -> None:
    a, _, _ = scene
    assert qabf(a, a, a / 2).tolist() == pytest.approx([0.9994 / 2 * SAME_ORIENTATION] * 2, rel=1e-9)


def test_a_copy_counts_its_own_gradient_as_ratio() -> None:
    step = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    step[..., 4, 4] = 0.25
    strength = [0.9994 / (1 + math.exp(-15 * (g - 0.5))) for g in (0.5, math.sqrt(0.125))]
    # Around a single point: four gradients of 2 * 0.25 along the axes, four of sqrt(2) * 0.25 across.
    weight = [4 * 0.5, 4 * math.sqrt(0.125)]
    expected = SAME_ORIENTATION * sum(w * s for w, s in zip(weight, strength, strict=True)) / sum(weight)
    assert qabf(step, step, step).item() == pytest.approx(expected, rel=1e-9)


def test_orientation_counts() -> None:
    stripes = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    stripes[..., 4:60, 4:60:8] = 100
    assert qabf(stripes, stripes, stripes).item() > 0.97
    assert qabf(stripes, stripes, stripes.transpose(2, 3).contiguous()).item() < 0.25


def test_each_source_weighs_as_much_as_its_gradients(halves: tuple[Tensor, Tensor]) -> None:
    a, _ = halves
    strong = functional.pad(a, (2, 2, 2, 2))
    # F has half the contrast of A, and twice that of B.
    value = qabf(strong, strong / 4, strong / 2)
    assert value.item() == pytest.approx(0.9994 / 2 * SAME_ORIENTATION, rel=1e-9)


def _gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    # conv2d does not turn its kernels, the original's convolution does.
    across = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]], dtype=image.dtype)[None, None]
    down = torch.tensor([[-1.0, -2, -1], [0, 0, 0], [1, 2, 1]], dtype=image.dtype)[None, None]
    x, y = functional.conv2d(image, across, padding=1), functional.conv2d(image, down, padding=1)
    angle = torch.full_like(x, math.pi / 2)
    angle[x != 0] = torch.atan(y[x != 0] / x[x != 0])
    return (x**2 + y**2).sqrt(), angle


def _quality(source: Tensor, source_angle: Tensor, fused: Tensor, fused_angle: Tensor) -> Tensor:
    ratio = fused.clone()
    weaker, stronger = fused < source, fused > source
    ratio[weaker] = fused[weaker] / source[weaker]
    ratio[stronger] = source[stronger] / fused[stronger]
    agreement = 1 - (source_angle - fused_angle).abs() / (math.pi / 2)
    strength = 0.9994 / (1 + torch.exp(-15 * (ratio - 0.5)))
    return strength * 0.9879 / (1 + torch.exp(-22 * (agreement - 0.8)))
