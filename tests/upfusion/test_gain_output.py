import math

import pytest
import torch
import torch.nn.functional as F

from upfusion.gain_output import (
    CORRECTION,
    apply_gains,
    count_maps,
    enlarge,
    local_energy,
    merge,
    resize,
    smooth_where_flat,
    split,
)

HALF = math.log(math.exp(0.5) - 1)
"""What softplus makes a half of."""


@pytest.mark.parametrize("bands", [0, 1, 3])
def test_a_split_luma_merges_to_itself(bands: int) -> None:
    x = torch.rand(2, 1, 32, 48)
    pyramid = split(x, bands)
    assert [detail.shape[-2:] for detail in pyramid.bands] == [(32 >> band, 48 >> band) for band in range(bands)]
    assert pyramid.rest.shape[-2:] == (32 >> bands, 48 >> bands)
    torch.testing.assert_close(merge(pyramid), x)


def test_a_flat_luma_has_no_detail() -> None:
    pyramid = split(torch.full((1, 1, 32, 32), 0.3), 3)
    assert max(detail.abs().max().item() for detail in pyramid.bands) < 1e-6
    torch.testing.assert_close(pyramid.rest, torch.full((1, 1, 4, 4), 0.3))


def test_detail_lies_in_the_band_of_its_size() -> None:
    x = torch.arange(64.0)
    fine, coarse = ((0.5 + 0.5 * torch.sin(2 * math.pi * x / length)).expand(1, 1, 64, 64) for length in (3, 16))
    energy = [[detail.square().mean().item() for detail in split(wave, 3).bands] for wave in (fine, coarse)]
    assert energy[0].index(max(energy[0])) == 0
    assert energy[1].index(max(energy[1])) == 2


def test_equal_gains_and_mixture_give_the_mean() -> None:
    a, b = torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32)
    maps = torch.zeros(2, count_maps(3), 8, 8)
    maps[:, :6] = HALF
    torch.testing.assert_close(apply_gains(maps, split(a, 3), split(b, 3)), (a + b) / 2)


def test_every_map_does_what_it_is_for() -> None:
    a, b = torch.rand(1, 1, 32, 32), torch.rand(1, 1, 32, 32)
    off = torch.full((1, count_maps(2), 8, 8), -40.0)  # no detail, the rest of A
    off[:, -1] = 0
    pyramid_a, pyramid_b = split(a, 2), split(b, 2)

    def with_map(number: int, value: float) -> torch.Tensor:
        maps = off.clone()
        maps[:, number] = value
        return apply_gains(maps, pyramid_a, pyramid_b)

    nothing = with_map(0, -40.0)
    only_rest = merge(pyramid_a._replace(bands=[torch.zeros_like(detail) for detail in pyramid_a.bands]))
    torch.testing.assert_close(nothing, only_rest)
    one = math.log(math.e - 1)  # softplus makes 1 of it
    finest, next_b = with_map(0, one) - nothing, with_map(3, one) - nothing
    torch.testing.assert_close(finest, pyramid_a.bands[0], atol=1e-6, rtol=0)
    enlarged = merge(pyramid_b._replace(bands=[pyramid_b.bands[0] * 0, pyramid_b.bands[1]], rest=pyramid_b.rest * 0))
    torch.testing.assert_close(next_b, enlarged, atol=1e-6, rtol=0)
    rest_of_b = merge(pyramid_b._replace(bands=[torch.zeros_like(detail) for detail in pyramid_b.bands]))
    torch.testing.assert_close(with_map(4, 40.0), rest_of_b)
    torch.testing.assert_close(with_map(5, 40.0) - nothing, torch.full_like(a, CORRECTION))


def test_smooth_maps_leave_no_pattern() -> None:
    # Flat sources under random maps: whatever has the period of the maps' grid would show.
    flat = torch.full((1, 1, 64, 64), 0.5)
    fused = apply_gains(torch.randn(1, count_maps(3), 16, 16), split(flat, 3), split(flat, 3))
    steps = (fused[..., 1:] - fused[..., :-1]).abs()
    assert steps.max() < 3 * CORRECTION / 8


def test_maps_grow_bilinearly_and_shrink_by_means() -> None:
    maps = torch.rand(1, 2, 8, 8)
    assert resize(maps, (8, 8)) is maps
    torch.testing.assert_close(resize(maps, (4, 4))[0, 0, 0, 0], maps[0, 0, :2, :2].mean())
    assert resize(maps, (32, 32)).max() <= maps.max()


def test_local_energy_grows_with_contrast() -> None:
    x = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))  # not one with detail of exactly 0
    strong, weak = (local_energy(split(scale * x, 3), (16, 16)) for scale in (1.0, 0.1))
    assert strong.shape == (1, 3, 16, 16)
    assert (strong > weak).all()
    black = local_energy(split(torch.zeros(1, 1, 64, 64), 3), (16, 16))
    assert black.isfinite().all()
    assert black.abs().max() < 1.5


def test_noise_is_taken_away_as_far_as_it_is_wished_for_and_edges_of_either_source_stay() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (0.4 + 0.02 * torch.randn(3, 1, 64, 96, generator=generator) for _ in range(2))
    a[..., 48:] += 0.4
    noisy_a, noisy_b = split(a, 3), split(b, 3)
    smooth_a, smooth_b = smooth_where_flat(noisy_a, noisy_b, torch.tensor([0.0, 0.5, 1.0]))
    for noisy, smooth in ((noisy_a, smooth_a), (noisy_b, smooth_b)):
        assert smooth.rest is noisy.rest
        for before, after in zip(noisy.bands, smooth.bands, strict=True):
            flat, edge = slice(0, before.shape[-1] // 4), before.shape[-1] // 2
            left = [(after[i, ..., flat].std() / before[i, ..., flat].std()).item() for i in range(3)]
            assert left == pytest.approx([1, 0.5, 0], abs=0.08)
            torch.testing.assert_close(after[..., edge], before[..., edge], atol=1e-3, rtol=0.02)


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (6, 3)])
def test_enlarging_is_bilinear_interpolation_with_its_gradient(factor: int, size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size, requires_grad=True)
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    enlarged = enlarge(x, factor)
    torch.testing.assert_close(enlarged, expected, atol=1e-6, rtol=0)
    slope = torch.rand_like(expected)
    grads = [torch.autograd.grad((result * slope).sum(), x)[0] for result in (enlarged, expected)]
    torch.testing.assert_close(*grads, atol=1e-5, rtol=1e-5)


def test_gains_are_softplus_at_both_ends() -> None:
    pyramid, nothing = split(torch.rand(1, 1, 16, 16), 1), split(torch.zeros(1, 1, 16, 16), 1)
    for value in (-200.0, -5.0, 0.0, 5.0, 60.0):
        maps = torch.zeros(1, count_maps(1), 8, 8)
        maps[:, 0] = value
        maps[:, 2] = -40  # the rest of A
        fused = split(apply_gains(maps, pyramid, nothing) - enlarge(pyramid.rest, 2), 0).rest
        expected = F.softplus(torch.tensor(value)) * pyramid.bands[0]
        torch.testing.assert_close(fused, expected, atol=1e-5, rtol=1e-5)
