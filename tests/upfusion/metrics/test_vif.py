import pytest
import torch
from torch import Tensor
from torch.nn import functional

from upfusion.metrics.vif import vif, vif_per_source

from .conftest import Scene
from .oracles import Case, assert_agrees, oracle


@oracle("VIFp_mean")
def test_agrees_with_the_field(case: Case) -> None:
    assert_agrees("vif", case, vif_a="UPF_VIFp_a", vif_b="UPF_VIFp_b")


def test_agrees_with_the_plain_formula(scene: Scene) -> None:
    a, b, f = scene
    expected = torch.stack([_plain(a[:1], f[:1]), _plain(b[:1], f[:1])])
    torch.testing.assert_close(vif_per_source(a, b, f)[0], expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(vif(a, b, f)[0], expected.mean(), rtol=1e-9, atol=0)


def test_agrees_with_the_plain_formula_around_a_point_on_black() -> None:
    a = torch.zeros(1, 1, 160, 160, dtype=torch.float64)
    a[..., 80, 80] = 5
    f = torch.randint(0, 100, a.shape, generator=torch.Generator().manual_seed(0)).to(a.dtype)
    torch.testing.assert_close(vif_per_source(a, a, f), _plain(a, f).expand(1, 2), rtol=1e-9, atol=0)


def test_a_copy_keeps_everything(scene: Scene) -> None:
    a, _, _ = scene
    assert vif(a, a, a).tolist() == pytest.approx([1, 1], abs=1e-9)


def test_noise_loses_information(scene: Scene) -> None:
    a, _, _ = scene
    noise = torch.rand(a.shape, generator=torch.Generator().manual_seed(1), dtype=a.dtype) * 100
    assert (vif(a, a, (a + noise) / 2) < 0.5).all()


@pytest.mark.parametrize(("height", "width"), [(40, 90), (90, 40)])
def test_too_small(scene: Scene, height: int, width: int) -> None:
    a, b, f = (image[..., :height, :width] for image in scene)
    assert vif(a, b, f).isnan().all()


def test_the_smallest_size(scene: Scene) -> None:
    a, b, f = (image[..., :41, :41] for image in scene)
    assert vif(a, b, f).isfinite().all()


def _plain(source: Tensor, fused: Tensor) -> Tensor:
    """Every case of the original code on its own, with two-dimensional windows."""
    kept, total = torch.zeros(()), torch.zeros(())
    for scale, size in enumerate([17, 9, 5, 3]):
        steps = torch.arange(size, dtype=source.dtype) - size // 2
        window = torch.exp(-(steps[:, None] ** 2 + steps**2) / (2 * (size / 5) ** 2))[None, None]
        window /= window.sum()
        if scale > 0:
            source = functional.conv2d(source, window)[..., ::2, ::2]
            fused = functional.conv2d(fused, window)[..., ::2, ::2]
        source_mean, fused_mean = functional.conv2d(source, window), functional.conv2d(fused, window)
        source_variance = (functional.conv2d(source**2, window) - source_mean**2).clamp(min=0)
        fused_variance = (functional.conv2d(fused**2, window) - fused_mean**2).clamp(min=0)
        covariance = functional.conv2d(source * fused, window) - source_mean * fused_mean
        gain = covariance / (source_variance + 1e-10)
        noise = fused_variance - gain * covariance
        flat = source_variance < 1e-10
        gain[flat], noise[flat], source_variance[flat] = 0, fused_variance[flat], 0
        flat = fused_variance < 1e-10
        gain[flat], noise[flat] = 0, 0
        opposed = gain < 0
        noise[opposed], gain[opposed] = fused_variance[opposed], 0
        noise = noise.clamp(min=1e-10)
        kept = kept + torch.log10(1 + gain**2 * source_variance / (noise + 2)).sum()
        total = total + torch.log10(1 + source_variance / 2).sum()
    return kept / total
