"""Synthetic scenes for the metrics, on the 0..255 scale."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

Scene = tuple[Tensor, Tensor, Tensor]


@pytest.fixture
def scene() -> Scene:
    """Two fused pairs in whole levels, float64 `(2, 1, 120, 90)`, with texture, edges and flat areas."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 2, 12, 9, generator=generator, dtype=torch.float64) * 255
    fine = torch.rand(2, 2, 120, 90, generator=generator, dtype=torch.float64) * 20
    sources = functional.interpolate(coarse, scale_factor=10, mode="nearest") * 0.9 + fine
    sources[:, :, 30:60, 20:50] = 0
    a, b = sources.round().split(1, dim=1)
    f = (0.6 * a + 0.4 * b + 10 * torch.rand(a.shape, generator=generator, dtype=a.dtype)).round()
    return a, b, f.clamp(0, 255)


@pytest.fixture
def halves() -> tuple[Tensor, Tensor]:
    """Two uncorrelated images `(1, 1, 8, 8)` of the levels 50 and 250, split into columns and into rows."""
    columns = torch.full((1, 1, 8, 8), 50.0, dtype=torch.float64)
    columns[..., 4:] = 250
    return columns, columns.transpose(2, 3).contiguous()


@pytest.fixture
def large(scene: Scene) -> Scene:
    """The same scenes, `(2, 1, 161, 180)` and textured everywhere: every metric has a meaning here."""
    generator = torch.Generator().manual_seed(1)
    enlarged = [functional.interpolate(image, size=(161, 180), mode="bilinear") for image in scene]
    a, b, f = (0.9 * image + 20 * torch.rand(image.shape, generator=generator, dtype=image.dtype) for image in enlarged)
    return a.round(), b.round(), f.round()
