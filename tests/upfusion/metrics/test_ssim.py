import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor
from torch.nn import functional

from upfusion.metrics.ssim import ssim, ssim_per_source

from .conftest import Scene
from .oracles import Case, assert_agrees, oracle


@oracle("SSIMskgauss_mean")
def test_agrees_with_the_field(case: Case) -> None:
    assert_agrees("ssim", case, ssim_a="SSIMskgauss_a", ssim_b="SSIMskgauss_b")


@pytest.mark.parametrize("brightness", [0, 40])
def test_agrees_with_the_plain_formula(scene: Scene, brightness: int) -> None:
    a, b, f = (image + brightness for image in scene)
    expected = torch.stack([_plain(a[:1], f[:1]), _plain(b[:1], f[:1])])
    torch.testing.assert_close(ssim_per_source(a, b, f)[0], expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(ssim(a, b, f)[0], expected.mean(), rtol=1e-9, atol=0)


def test_agrees_with_scikit_image(scene: Scene) -> None:
    a, b, f = (image[0, 0].numpy() for image in scene)
    options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = [structural_similarity(source, f, **options) for source in (a, b)]
    assert ssim_per_source(*scene)[0].tolist() == pytest.approx(expected, rel=1e-9)


def test_a_copy_is_similar(scene: Scene) -> None:
    a, _, _ = scene
    assert ssim(a, a, a).tolist() == pytest.approx([1, 1], abs=1e-9)


def test_a_negative_is_opposed() -> None:
    noise = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 255
    assert ssim(noise, noise, 255 - noise).item() < -0.9


@pytest.mark.parametrize(("height", "width"), [(10, 90), (90, 10)])
def test_too_small(scene: Scene, height: int, width: int) -> None:
    a, b, f = (image[..., :height, :width] for image in scene)
    assert ssim(a, b, f).isnan().all()


def test_the_smallest_size(scene: Scene) -> None:
    a, b, f = (image[..., :11, :11] for image in scene)
    assert ssim(a, b, f).isfinite().all()


def _plain(x: Tensor, y: Tensor) -> Tensor:
    steps = torch.arange(11, dtype=x.dtype) - 5
    window = torch.exp(-(steps[:, None] ** 2 + steps**2) / (2 * 1.5**2))[None, None]
    window /= window.sum()
    x_mean, y_mean = functional.conv2d(x, window), functional.conv2d(y, window)
    x_variance = functional.conv2d(x * x, window) - x_mean**2
    y_variance = functional.conv2d(y * y, window) - y_mean**2
    covariance = functional.conv2d(x * y, window) - x_mean * y_mean
    luminance = (2 * x_mean * y_mean + 2.55**2) / (x_mean**2 + y_mean**2 + 2.55**2)
    return (luminance * (2 * covariance + 7.65**2) / (x_variance + y_variance + 7.65**2)).mean()
