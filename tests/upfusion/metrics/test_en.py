import math

import pytest
import torch
from skimage.measure import shannon_entropy

from upfusion.metrics.en import en

from .conftest import Scene
from .oracles import Case, assert_agrees, oracle


@oracle("UPF_EN")
def test_agrees_with_the_field(case: Case) -> None:
    assert_agrees("en", case)


@pytest.mark.parametrize(("count", "bits"), [(2, 1.0), (4, 2.0), (256, 8.0)])
def test_equally_frequent_levels(count: int, bits: float) -> None:
    image = torch.arange(count, dtype=torch.float64).repeat(3).view(1, 1, 3, count)
    assert en(image).item() == pytest.approx(bits)


def test_uneven_levels() -> None:
    image = torch.tensor([0.0, 255, 255, 255], dtype=torch.float64).view(1, 1, 2, 2)
    assert en(image).item() == pytest.approx(2 - 0.75 * math.log2(3))


def test_rounds_to_whole_levels() -> None:
    image = torch.tensor([0.0, 0.4, 254.6, 300.0], dtype=torch.float64).view(1, 1, 2, 2)
    assert en(image).item() == pytest.approx(1)


def test_flat() -> None:
    assert en(torch.full((1, 1, 5, 5), 9.0)).isnan().all()


def test_agrees_with_scikit_image(scene: Scene) -> None:
    assert en(scene[2])[1].item() == pytest.approx(shannon_entropy(scene[2][1, 0].numpy()), rel=1e-9)
