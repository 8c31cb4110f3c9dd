import torch
import torch.nn.functional as F

from upfusion.sobel import sobel_magnitude


def test_sobel_measures_both_directions() -> None:
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    ramp = (2 * rows + 3 * columns)[None, None]
    assert sobel_magnitude(ramp)[..., 1:-1, 1:-1].unique().tolist() == [8 * 2 + 8 * 3]


def test_sobel_reflects_at_the_border() -> None:
    x = torch.rand(1, 1, 5, 6)
    inner = sobel_magnitude(F.pad(x, (1, 1, 1, 1), mode="reflect"))[..., 1:-1, 1:-1]
    torch.testing.assert_close(sobel_magnitude(x), inner)
    assert not sobel_magnitude(torch.full((1, 1, 4, 4), 0.7)).abs().gt(1e-6).any()
