import math

import pytest
from skimage.metrics import peak_signal_noise_ratio

from upfusion.metrics.psnr import psnr

from .conftest import Scene
from .oracles import Case, assert_agrees, oracle


@oracle("UPF_MSE", convert=lambda error: 10 * math.log10(255**2 / error))
def test_agrees_with_the_field(case: Case) -> None:
    assert_agrees("psnr", case)


def test_agrees_with_scikit_image(scene: Scene) -> None:
    a, _, f = scene
    expected = peak_signal_noise_ratio(a[0, 0].numpy(), f[0, 0].numpy(), data_range=255)
    assert psnr(a, a, f)[0].item() == pytest.approx(expected, rel=1e-9)


def test_known_errors(scene: Scene) -> None:
    _, _, f = scene
    expected = 10 * math.log10(255**2 / ((3**2 + 4**2) / 2))
    assert psnr(f + 3, f - 4, f).tolist() == pytest.approx([expected] * 2)


def test_a_copy_of_one_source(scene: Scene) -> None:
    _, _, f = scene
    assert psnr(f, f + 2, f).tolist() == pytest.approx([10 * math.log10(255**2 / 2)] * 2)


def test_a_copy_of_both_sources_has_no_meaning(scene: Scene) -> None:
    _, _, f = scene
    assert psnr(f, f, f).isnan().all()
