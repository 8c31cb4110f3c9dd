import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from upfusion.metrics import METRICS, explain_undefined, measure, measuring
from upfusion.metrics.vif import vif_per_source

from .conftest import Scene

NAMES = list(METRICS)


def test_measures_what_is_asked_for(scene: Scene) -> None:
    values = measure(*scene, ["sd", "vif"])
    assert list(values) == ["sd", "vif"]
    for name, row in values.items():
        assert row == METRICS[name](*scene).tolist()
        assert all(isinstance(value, float) for value in row)


def test_computes_what_metrics_share_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def count(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
        asked.append(a)
        return vif_per_source(a, b, f)

    forms = ["vif", "vif_a", "vif_b", "vif_balanced"]
    expected = measure(*scene, forms)
    counted = {name: replace(METRICS[name], function=count) for name in forms}
    monkeypatch.setattr(measuring, "METRICS", counted)
    assert measure(*scene, forms) == expected
    assert len(asked) == 1


def test_eight_and_sixteen_bit_sources_give_comparable_values(large: Scene) -> None:
    coarse = measure(*large, NAMES)
    fine = measure(*((image * 257 + 64).round() / 257 for image in large), NAMES)
    for name in NAMES:
        assert fine[name] == pytest.approx(coarse[name], rel=0.02), name


def test_measures_nothing(scene: Scene) -> None:
    assert measure(*scene, []) == {}


def test_measures_an_empty_batch() -> None:
    nothing = torch.zeros(0, 1, 64, 64)
    assert measure(nothing, nothing, nothing, NAMES) == {name: [] for name in NAMES}


def test_refuses_an_unknown_name(scene: Scene) -> None:
    with pytest.raises(ValueError, match=r"'viff'.*\bvif, .*, qp"):
        measure(*scene, ["vif", "viff"])


def test_refuses_sources_of_another_shape(scene: Scene) -> None:
    a, b, f = scene
    with pytest.raises(ValueError, match=r"source B .*\(2, 1, 120, 90\), .*\(2, 1, 119, 90\)"):
        measure(a, b[:, :, 1:], f, NAMES)
    with pytest.raises(ValueError, match=r"source A .*\(2, 1, 120, 90\), .*\(1, 1, 120, 90\)"):
        measure(a[:1], b, f, NAMES)


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (1, 3, 8, 8)])
def test_refuses_other_than_batches_of_luma(shape: tuple[int, ...]) -> None:
    image = torch.zeros(shape)
    with pytest.raises(ValueError, match=r"Expected .*\(N, 1, H, W\), got"):
        measure(image, image, image, NAMES)


def test_refuses_other_types(scene: Scene) -> None:
    a, b, f = scene
    with pytest.raises(ValueError, match=r"float64.*torch\.uint8"):
        measure(a.byte(), b.byte(), f.byte(), NAMES)
    with pytest.raises(ValueError, match=r"source A .*float64.*torch\.float32"):
        measure(a.float(), b, f, NAMES)


@pytest.mark.parametrize("flat", [0, 1, 2])
@pytest.mark.parametrize("level", [0.0, 200.0])
def test_a_flat_image_has_no_meaning(large: Scene, flat: int, level: float) -> None:
    large[flat][1] = level
    for name, (textured, missing) in measure(*large, NAMES).items():
        assert textured is not None, name
        assert missing is None, name
        assert re.search(rf"\b{'ABF'[flat]}\b.*\bflat\b", explain_undefined(*large, name)[1])


@pytest.mark.parametrize("level", [float("nan"), float("inf")])
def test_a_broken_image_has_no_meaning(large: Scene, level: float) -> None:
    large[2][1, 0, 5, 5] = level
    for name, (sound, broken) in measure(*large, NAMES).items():
        assert sound is not None, name
        assert broken is None, name
        assert re.search(r"\bF\b.*\bNaN\b", explain_undefined(*large, name)[1])


def test_a_copy_of_one_source(large: Scene) -> None:
    a, b, _ = large
    assert set(_without_meaning(a, b, a)) == {"scd"}


def test_a_copy_of_both_sources(large: Scene) -> None:
    a, _, _ = large
    assert set(_without_meaning(a, a, a)) == {"scd", "psnr"}


def test_shared_flat_areas(large: Scene) -> None:
    a, b, f = large
    a[..., :20, :20], b[..., :20, :20] = 0, 0
    assert _without_meaning(a, b, f) == {"qy": METRICS["qy"].otherwise_none}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("height", [1, 2, 3, 10, 11, 40, 41])
@pytest.mark.parametrize("width", [1, 2, 5, 42])
def test_any_size_is_measured(height: int, width: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b, f = torch.randint(0, 256, (3, 1, 1, height, width), generator=generator).to(dtype)
    side = min(height, width)
    # Whether so small an image has a feature is chance.
    without_value = {name: why for name, why in _without_meaning(a, b, f).items() if name != "qp"}
    if height * width == 1:
        assert set(without_value) == set(NAMES) - {"qp"}
        assert all(re.search(r"\bA\b.*\bflat\b", why) for why in without_value.values())
    else:
        small = {name: metric.smallest_side for name, metric in METRICS.items() if side < metric.smallest_side}
        assert set(without_value) == set(small)
        assert all(f" {small[name]} " in why for name, why in without_value.items())
    for name, metric in METRICS.items():
        assert not metric(a, b, f).isinf().any(), name


def _without_meaning(a: Tensor, b: Tensor, f: Tensor) -> dict[str, str]:
    return {name: explain_undefined(a, b, f, name)[0] for name, row in measure(a, b, f, NAMES).items() if None in row}
