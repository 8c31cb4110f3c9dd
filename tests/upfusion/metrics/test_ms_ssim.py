import pytest
import torch
from torch import Tensor

from upfusion.metrics.ms_ssim import ms_ssim, ms_ssim_per_source
from upfusion.metrics.ssim import ssim_per_source

from .conftest import Scene
from .oracles import Case, assert_agrees, oracle


@oracle("MSSSIM_mean")
def test_agrees_with_the_field(case: Case) -> None:
    assert_agrees("ms_ssim", case)


def test_a_copy_is_similar(large: Scene) -> None:
    a, b, _ = large
    copied, other = ms_ssim_per_source(a, b, a).unbind(1)
    assert copied.tolist() == pytest.approx([1, 1], abs=1e-9)
    assert (other < 0.9).all()
    torch.testing.assert_close(ms_ssim(a, b, a), (1 + other) / 2)


def test_a_negative_counts_as_nothing(large: Scene) -> None:
    a, _, _ = large
    assert ms_ssim(a, a, 255 - a).tolist() == [0, 0]


def test_forgives_noise_more_than_ssim(large: Scene) -> None:
    a, _, _ = large
    noisy = a + 30 * torch.rand(a.shape, generator=torch.Generator().manual_seed(0), dtype=a.dtype)
    assert (ms_ssim_per_source(a, a, noisy) > ssim_per_source(a, a, noisy)).all()


@pytest.mark.parametrize(("height", "width"), [(160, 180), (161, 160)])
def test_too_small(large: Scene, height: int, width: int) -> None:
    images: list[Tensor] = [image[..., :height, :width] for image in large]
    assert ms_ssim(*images).isnan().all()


def test_the_smallest_size(large: Scene) -> None:
    assert ms_ssim(*(image[..., :161, :161] for image in large)).isfinite().all()
