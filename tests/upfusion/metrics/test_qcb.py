import pytest
import torch
from torch import Tensor

from upfusion.metrics.qcb import qcb

from .conftest import Scene
from .oracles import Case, assert_agrees, oracle


@oracle("QCB")
def test_agrees_with_the_field(case: Case) -> None:
    assert_agrees("qcb", case, rel=1e-7)


@pytest.mark.parametrize(("height", "width"), [(64, 50), (63, 51), (20, 90)])
def test_agrees_with_the_plain_formula(scene: Scene, height: int, width: int) -> None:
    a, b, f = (image[1:, :, :height, :width] for image in scene)
    torch.testing.assert_close(qcb(a, b, f)[0], _plain(a[0, 0], b[0, 0], f[0, 0]), rtol=1e-8, atol=0)


def test_a_copy_of_both_sources_has_all_their_contrast(scene: Scene) -> None:
    a, _, _ = scene
    assert qcb(a, a, a).tolist() == pytest.approx([1, 1], abs=1e-9)


def test_brightness_and_contrast_of_a_whole_image_do_not_matter(scene: Scene) -> None:
    a, b, f = scene
    # By powers of two, so that levels are rounded alike.
    torch.testing.assert_close(qcb(a / 2, b + 16, f / 4 + 8), qcb(a, b, f), rtol=1e-9, atol=0)


def test_a_blurred_copy_has_less_contrast(scene: Scene) -> None:
    a, _, _ = scene
    blurred = torch.nn.functional.avg_pool2d(a, 9, stride=1, padding=4)
    assert (qcb(a, a, blurred) < 0.7).all()


def _plain(*images: Tensor) -> Tensor:
    source_a, source_b, fused = (_perceived(image) for image in images)
    quality_a = torch.minimum(source_a, fused) / torch.maximum(source_a, fused)
    quality_b = torch.minimum(source_b, fused) / torch.maximum(source_b, fused)
    share = source_a**2 / (source_a**2 + source_b**2)
    return (share * quality_a + (1 - share) * quality_b).mean()


def _perceived(image: Tensor) -> Tensor:
    height, width = image.shape
    stretched = torch.floor((image - image.min()) / (image.max() - image.min()) * 255 + 0.5)
    x = (torch.arange(width, dtype=image.dtype) - width // 2) * 2 / width * (width / 30)
    y = (torch.arange(height, dtype=image.dtype) - height // 2) * 2 / height * (height / 30)
    radius = torch.hypot(x, y[:, None])
    sensitivity = torch.exp(-((radius / 15.387) ** 2)) - 0.7622 * torch.exp(-((radius / 1.3456) ** 2))
    filtered = torch.fft.ifft2(torch.fft.fft2(stretched) * torch.fft.ifftshift(sensitivity)).real
    steps = torch.arange(31, dtype=image.dtype) - 15
    narrow, wide = (
        torch.nn.functional.conv2d(
            filtered[None, None],
            (torch.exp(-(steps[:, None] ** 2 + steps**2) / (2 * s**2)) / (2 * torch.pi * s**2))[None, None],
            padding=15,
        )[0, 0]
        for s in (2, 4)
    )
    contrast = (narrow / wide - 1).abs()
    return contrast**3 / (contrast**2 + 1e-4)
