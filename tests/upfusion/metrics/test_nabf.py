import math

import pytest
import torch
from torch import Tensor

from upfusion.metrics.nabf import nabf

from .conftest import Scene
from .oracles import Case, assert_agrees, oracle


@oracle("LT_Nabf")
def test_agrees_with_the_field(case: Case) -> None:
    assert_agrees("nabf", case, rel=1e-8)


def test_agrees_with_the_plain_formula(scene: Scene) -> None:
    a, b, f = scene
    torch.testing.assert_close(nabf(a, b, f)[1].item(), _plain(a[1, 0], b[1, 0], f[1, 0]), rtol=1e-9, atol=0)


def test_a_copy_adds_nothing(scene: Scene) -> None:
    a, b, _ = scene
    assert nabf(a, b, a).tolist() == [0, 0]


def test_weaker_edges_are_no_artifacts(scene: Scene) -> None:
    a, b, _ = scene
    assert nabf(a, b, a / 2).tolist() == [0, 0]


def test_noise_is_an_artifact(scene: Scene) -> None:
    a, b, f = scene
    noise = 200 * torch.rand(f.shape, generator=torch.Generator().manual_seed(1), dtype=f.dtype)
    assert (nabf(a, b, f + noise) > 10 * nabf(a, b, f)).all()


@pytest.mark.parametrize("shape", [(1, 9), (9, 1)])
def test_too_small(shape: tuple[int, int]) -> None:
    image = torch.arange(9.0).view(1, 1, *shape)
    assert nabf(image, image, image).isnan().all()


def _plain(a: Tensor, b: Tensor, f: Tensor) -> float:
    """Pixel by pixel."""
    (a_length, a_angle), (b_length, b_angle), (f_length, f_angle) = (_gradients(image) for image in (a, b, f))
    lost = total = 0.0
    for pixel in range(len(f_length)):
        sources = ((a_length[pixel], a_angle[pixel]), (b_length[pixel], b_angle[pixel]))
        artifact = all(f_length[pixel] > length for length, _ in sources)
        for length, angle in sources:
            weight = length**1.5 if length >= 2 else 0.001
            total += weight
            lost += weight * (1 - _quality(length, angle, f_length[pixel], f_angle[pixel])) * artifact
    return lost / total


def _quality(source: float, source_angle: float, fused: float, fused_angle: float) -> float:
    ratio = min(source, fused) / max(source, fused) if source * fused > 0 else 0
    agreement = abs(abs(source_angle - fused_angle) - math.pi / 2) * 2 / math.pi
    strength = 0.9999 / (1 + math.exp(-19 * (ratio - 0.5)))
    return math.sqrt(strength * 0.9995 / (1 + math.exp(-22 * (agreement - 0.5))))


def _gradients(image: Tensor) -> tuple[list[float], list[float]]:
    padded = torch.cat([image[1:2], image, image[-2:-1]])
    rows = torch.cat([padded[:, 1:2], padded, padded[:, -2:-1]], dim=1).tolist()
    lengths, angles = [], []
    for y in range(1, len(rows) - 1):
        for x in range(1, len(rows[0]) - 1):
            across = sum(w * (rows[y + d][x + 1] - rows[y + d][x - 1]) / 8 for d, w in ((-1, 1), (0, 2), (1, 1)))
            down = sum(w * (rows[y + 1][x + d] - rows[y - 1][x + d]) / 8 for d, w in ((-1, 1), (0, 2), (1, 1)))
            lengths.append(math.hypot(across, down))
            # The original's angle is from the vertical.
            angles.append(math.atan(across / down) if down else math.copysign(math.pi / 2, across) if across else 0.0)
    return lengths, angles
