import pytest
import torch

from upfusion.blur import gaussian_blur
from upfusion.metrics.windows import blur, gaussian_window


@pytest.mark.parametrize(("size", "sigma", "stride"), [(11, 1.5, 1), (9, 1.8, 2), (3, 0.6, 2)])
def test_it_is_the_blur_of_the_metrics(size: int, sigma: float, stride: int) -> None:
    images = torch.rand(2, 3, 24, 31, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = blur(images, gaussian_window(size, sigma, images), stride)
    torch.testing.assert_close(gaussian_blur(images, size, sigma, stride), expected)
