import pytest
import torch
from torch.nn import functional

from upfusion.metrics import windows
from upfusion.metrics.windows import blur, gaussian_window


def test_a_window_is_a_gaussian_of_sum_one() -> None:
    window = gaussian_window(5, 2.0, torch.zeros((), dtype=torch.float64))
    assert window.dtype == torch.float64
    torch.testing.assert_close(window.sum(), torch.tensor(1.0, dtype=torch.float64))
    ratio = torch.exp(torch.tensor([-4 / 8, -1 / 8, 0, -1 / 8, -4 / 8], dtype=torch.float64))
    torch.testing.assert_close(window / window[2], ratio)


def test_blur_is_a_two_dimensional_filter_of_each_channel() -> None:
    image = torch.rand(2, 3, 14, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    window = gaussian_window(5, 1.0, image)
    plain = functional.conv2d(image.flatten(0, 1)[:, None], torch.outer(window, window)[None, None])
    torch.testing.assert_close(blur(image, window), plain.view(2, 3, 10, 7))
    torch.testing.assert_close(blur(image, window, stride=2), plain.view(2, 3, 10, 7)[..., ::2, ::2])


@pytest.mark.parametrize("stride", [1, 2])
def test_cpus_and_gpus_filter_alike(stride: int) -> None:
    image = torch.rand(2, 3, 14, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    window = gaussian_window(5, 1.0, image)
    torch.testing.assert_close(windows._convolution(image, window, stride), blur(image, window, stride))
