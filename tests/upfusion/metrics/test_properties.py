"""What must hold for any images: hypothesis looks for ones where it does not."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from upfusion.metrics import METRICS, measure

NAMES = list(METRICS)
OTHER_DIRECTION = {"vif_a": "vif_b", "vif_b": "vif_a", "ssim_a": "ssim_b", "ssim_b": "ssim_a"}
OF_FUSED = ["en", "sd", "sf", "ag"]
# Where F = A = B without flat areas; the others depend on the image, or have no value there.
OF_IDENTICAL = dict.fromkeys(("ms_ssim", "qcb", "qy", "cc"), 1.0) | {"nabf": 0.0}
OF_IDENTICAL |= {f"{name}{form}": 1.0 for name in ("vif", "ssim") for form in ("", "_a", "_b", "_balanced")}

bounded = settings(max_examples=40, deadline=None, derandomize=True)


@st.composite
def images(draw: st.DrawFn, count: int = 3, smallest: int = 1, largest: int = 60) -> list[Tensor]:
    """Images of one size in whole levels: noise, smooth, dark, few levels, partly flat."""
    height, width = draw(st.integers(smallest, largest)), draw(st.integers(smallest, largest))
    return [draw(_images(height, width)) for _ in range(count)]


@st.composite
def _images(draw: st.DrawFn, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    coarseness = draw(st.sampled_from([1, 1, 3, 10]))
    coarse = torch.rand(
        1, 1, -(-height // coarseness), -(-width // coarseness), generator=generator, dtype=torch.float64
    )
    image = functional.interpolate(coarse, size=(height, width), mode=draw(st.sampled_from(["nearest", "bilinear"])))
    darkest, brightest = draw(st.integers(0, 255)), draw(st.integers(0, 255))
    image = (darkest + image * (brightest - darkest)).round()
    if draw(st.booleans()):
        image[..., : draw(st.integers(0, height)), : draw(st.integers(0, width))] = draw(st.sampled_from([0, 90, 255]))
    return image


@given(images())
@bounded
def test_there_is_a_value_in_the_range_or_none(abf: list[Tensor]) -> None:
    for dtype in (torch.float32, torch.float64):
        for name, (value,) in measure(*(image.to(dtype) for image in abf), NAMES).items():
            if value is not None:
                assert METRICS[name].lowest - 1e-5 <= value <= METRICS[name].highest + 1e-5, name


@given(images())
@bounded
def test_the_order_of_the_sources_does_not_matter(abf: list[Tensor]) -> None:
    a, b, f = abf
    one, other = measure(a, b, f, NAMES), measure(b, a, f, NAMES)
    for name in set(NAMES) - set(OTHER_DIRECTION):
        _assert_same(one[name], other[name], name)
    for name, opposite in OTHER_DIRECTION.items():
        _assert_same(one[name], other[opposite], name)


@given(st.integers(0, 2**32), st.integers(161, 180), st.integers(161, 180))
@settings(bounded, max_examples=5)
def test_identical_images(seed: int, height: int, width: int) -> None:
    image = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    image = (image * 255).round()
    for name, (value,) in measure(image, image, image, OF_IDENTICAL).items():
        assert value == pytest.approx(OF_IDENTICAL[name], abs=1e-6), name


@given(images(smallest=2))
@bounded
def test_metrics_of_the_fused_image_do_not_depend_on_the_sources(abf: list[Tensor]) -> None:
    a, b, f = abf
    values = measure(a, b, f, OF_FUSED)
    of_others = measure(f.flip(2) + 1, 2 * f, f, OF_FUSED)
    if a.amin() < a.amax() and b.amin() < b.amax():
        assert values == of_others


@given(images(), st.integers(1, 50))
@bounded
def test_brightness_does_not_matter(abf: list[Tensor], more: int) -> None:
    # The others weigh brightness itself, or the step from the image to the zeros beyond its border.
    names = ["vif", "vif_balanced", "nabf", "mi", "scd", "cc", "en", "sd", "sf", "ag", "psnr", "qcb"]
    dark = [(image * 200 / 255).round() for image in abf]
    before, after = measure(*dark, names), measure(*(image + more for image in dark), names)
    for name in names:
        _assert_same(before[name], after[name], name)


@given(images())
@bounded
def test_a_mirror_image_has_the_same_values(abf: list[Tensor]) -> None:
    # The others keep every second pixel, or have an asymmetry of their original: qabf in vertical gradients.
    names = ["ssim", "ssim_balanced", "nabf", "mi", "scd", "cc", "en", "sd", "sf", "ag", "psnr"]
    before, after = measure(*abf, names), measure(*(image.flip(2) for image in abf), names)
    for name in names:
        _assert_same(before[name], after[name], name)


def _assert_same(one: list[float | None], other: list[float | None], name: str) -> None:
    assert (one == [None]) == (other == [None]), name
    if one != [None]:
        assert one == pytest.approx(other, rel=1e-6, abs=1e-7), name
