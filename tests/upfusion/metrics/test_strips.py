import pytest
import torch

from upfusion.metrics import strips as module
from upfusion.metrics.strips import strips
from upfusion.metrics.windows import blur, gaussian_window


@pytest.mark.parametrize("height", [5, 36, 37, 70, 101])
@pytest.mark.parametrize("stride", [1, 2])
def test_results_of_strips_tile_those_of_the_image(monkeypatch: pytest.MonkeyPatch, height: int, stride: int) -> None:
    monkeypatch.setattr(module, "PIXELS_PER_STRIP", 0)
    image = torch.rand(2, 3, height, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    window = gaussian_window(5, 1.0, image)
    pieces = list(strips(image, 5))
    assert len(pieces) == -(-(height - 4) // module.SMALLEST_STRIP)
    tiled = torch.cat([blur(piece, window, stride) for piece in pieces], dim=2)
    torch.testing.assert_close(tiled, blur(image, window, stride), rtol=1e-12, atol=0)


@pytest.mark.parametrize("width", [333, 1001, 1280])
def test_strips_are_small_and_start_at_even_rows(width: int) -> None:
    rows = torch.arange(1024).view(1, 1, -1, 1).expand(1, 1, 1024, width)
    pieces = list(strips(rows, 3))
    assert len(pieces) > 1
    assert all(piece[0, 0, 0, 0] % 2 == 0 for piece in pieces)
    assert all(piece[0, 0, 2:].numel() <= module.PIXELS_PER_STRIP for piece in pieces)
