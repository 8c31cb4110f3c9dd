import math

import pytest
import torch
from torch import Tensor

from upfusion.metrics import phase_congruency as module
from upfusion.metrics.phase_congruency import phase_congruency

from .conftest import Scene
from .oracles import Case, oracle

KINDS = ("PC", "M", "m")


@oracle("PCmean_a")
def test_agrees_with_the_field(case: Case) -> None:
    for letter, image in zip("abf", case.images(), strict=True):
        if image.amin() == image.amax():
            continue  # rounding alone
        maps = dict(zip(KINDS, phase_congruency(image)[0], strict=True))
        ours = {f"{kind}mean_{letter}": maps[kind].mean() for kind in KINDS}
        ours |= {f"{kind}_at_9_9_{letter}": maps[kind][9, 9] for kind in KINDS}
        ours[f"PCfrac01_{letter}"] = (maps["PC"] > 0.1).double().mean()
        ours[f"PC_at_last_{letter}"] = maps["PC"][-1, -1]
        for name, value in ours.items():
            assert value.item() == pytest.approx(case.others[name], rel=1e-8, abs=1e-12), name


@pytest.mark.parametrize(("height", "width"), [(48, 60), (47, 60), (48, 61), (47, 61)])
def test_agrees_with_the_plain_formula(scene: Scene, height: int, width: int) -> None:
    image = scene[0][:, :, :height, :width]
    torch.testing.assert_close(phase_congruency(image)[1], _plain(image[1, 0]), rtol=1e-8, atol=1e-12)


def test_a_batch_at_once_is_its_images(scene: Scene) -> None:
    images = scene[2]
    together = module._phase_congruency(images[:, 0])
    torch.testing.assert_close(together, phase_congruency(images), rtol=1e-9, atol=1e-12)


def test_a_negative_has_the_same_features(scene: Scene) -> None:
    image = scene[0]
    torch.testing.assert_close(phase_congruency(255 - image), phase_congruency(image), rtol=1e-8, atol=1e-9)


def test_edges_and_corners() -> None:
    image = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    image[..., 16:48, 16:48] = 100
    strength, largest, smallest = phase_congruency(image)[0]
    edge, corner, inside = (32, 16), (16, 16), (32, 32)
    assert strength[edge] > 0.5 > 0.1 > strength[inside]
    assert largest[edge] > 4 * smallest[edge]
    assert smallest[corner] > 2 * smallest[edge]


def test_a_black_image_has_no_moments() -> None:
    strength, largest, smallest = phase_congruency(torch.zeros(1, 1, 20, 21))[0]
    assert (strength == 0).all()
    assert largest.isnan().all()
    assert smallest.isnan().all()


def _plain(image: Tensor) -> Tensor:
    """One complex filter after the other, and the noise from the filters' own pixels."""
    height, width = image.shape
    y, x = torch.meshgrid(_grid(height), _grid(width), indexing="ij")
    radius, theta = torch.fft.ifftshift(torch.hypot(x, y)), torch.fft.ifftshift(torch.atan2(-y, x))
    radius[0, 0] = 1
    y, x = ((torch.arange(n, dtype=image.dtype) - n // 2) / n for n in (height, width))
    low_pass = 1 / (1 + (torch.fft.fftshift(torch.hypot(x, y[:, None])) / 0.45) ** 30)
    radial = []
    for scale in range(4):
        radial.append(torch.exp(-(torch.log(radius * 3 * 2.1**scale) ** 2) / (2 * math.log(0.55) ** 2)) * low_pass)
        radial[-1][0, 0] = 0
    numerator, amplitudes, xx, yy, xy = torch.zeros(5, height, width, dtype=image.dtype)
    for angle in torch.arange(6, dtype=image.dtype) * math.pi / 6:
        distance = torch.atan2(torch.sin(theta - angle), torch.cos(theta - angle)).abs()
        angular = torch.exp(-(distance**2) / (2 * (math.pi / 6 / 1.2) ** 2))
        filters = torch.stack([part * angular for part in radial])
        responses = torch.fft.ifft2(torch.fft.fft2(image) * filters)
        amplitude, total = responses.abs(), responses.sum(0)
        mean = total / (total.abs() + 1e-4)
        turned = responses * mean.conj()
        energy = (turned.real - turned.imag.abs()).sum(0)
        middle = amplitude[0].square().flatten().sort().values
        median = (middle[(len(middle) - 1) // 2] + middle[len(middle) // 2]) / 2
        power = median / math.log(2) / filters[0].square().sum()
        kernels = torch.fft.ifft2(filters).real * math.sqrt(height * width)
        pairs = sum((kernels[i] * kernels[j]).sum() for i in range(4) for j in range(i + 1, 4))
        tau = torch.sqrt((2 * power * kernels.square().sum() + 4 * power * pairs) / 2)
        noise = (tau * math.sqrt(math.pi / 2) + 2 * torch.sqrt((2 - math.pi / 2) * tau**2)) / 1.7
        spread = amplitude.sum(0) / (amplitude.amax(0) + 1e-4) / 4
        weighted = (energy - noise).clamp(min=0) / (1 + torch.exp(10 * (0.5 - spread)))
        numerator += weighted
        amplitudes += amplitude.sum(0)
        local = weighted / amplitude.sum(0)
        cosine, sine = local * torch.cos(angle), local * torch.sin(angle)
        xx, yy, xy = xx + cosine**2 / 3, yy + sine**2 / 3, xy + cosine * sine / 6
    difference = torch.sqrt(xy**2 + (xx - yy) ** 2) + 1e-4
    return torch.stack([numerator / (amplitudes + 1e-4), (xx + yy + difference) / 2, (xx + yy - difference) / 2])


def _grid(count: int) -> Tensor:
    index = torch.arange(count, dtype=torch.float64) - count // 2
    return index / (count - 1 if count % 2 else count)
