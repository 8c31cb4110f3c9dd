import math
from functools import lru_cache

import pytest
import torch

from upfusion.metrics.qp import SourceFeatures, preservation, qp, source_features

from .conftest import Scene
from .oracles import LARGEST_IN_FLOAT32, Case, image, oracle


@oracle("QP")
def test_agrees_with_the_field(case: Case) -> None:
    a, b, f = case.images()
    if case.expected is None:
        assert math.isnan(qp(a, b, f).item())
        assert math.isnan(qp(a.float(), b.float(), f.float()).item())
        return
    exact = preservation(_features(case.a, case.b, case.crop, torch.float64), f)[0]
    assert exact.tolist() == pytest.approx([case.others[part] for part in ("QP_pc", "QP_M", "QP_m")], rel=1e-8)
    assert exact.prod().item() == pytest.approx(case.expected, rel=1e-8)
    if f.numel() <= LARGEST_IN_FLOAT32:
        single = preservation(_features(case.a, case.b, case.crop, torch.float32), f.float())
        assert single.prod().item() == pytest.approx(case.expected, rel=1e-3)


def test_is_the_product_of_its_factors(scene: Scene) -> None:
    a, b, f = scene
    factors = preservation(source_features(a, b), f)
    assert factors.shape == (2, 3)
    torch.testing.assert_close(qp(a, b, f), factors.prod(1))


def test_a_copy_of_both_sources_keeps_everything(scene: Scene) -> None:
    a, _, _ = scene
    # Not more than nearly: the sources are masked where they have no feature, F is not.
    assert ((qp(a, a, a) > 0.9) & (qp(a, a, a) <= 1)).all()


def test_noise_loses_features(scene: Scene) -> None:
    a, b, f = scene
    noise = torch.rand(a.shape, generator=torch.Generator().manual_seed(1), dtype=a.dtype) * 200
    assert (qp(a, b, (f + noise) / 2) < 0.5 * qp(a, b, f)).all()


def test_no_feature_anywhere_has_no_meaning(scene: Scene) -> None:
    a, b, f = scene
    assert qp(a / 1e6, b / 1e6, f).isnan().all()


@pytest.mark.parametrize("flat", [0, 1, 2])
@pytest.mark.parametrize("level", [0.0, 128.0])
def test_flat(scene: Scene, flat: int, level: float) -> None:
    images = [image.clone() for image in scene]
    images[flat][:] = level
    assert qp(*images).isnan().all()


@lru_cache(maxsize=2)
def _features(a: str, b: str, crop: tuple[int, int, int, int] | None, dtype: torch.dtype) -> SourceFeatures:
    """Of one case after the other: fusions of the same pair are neighbours."""
    source_a, source_b = (image(path, crop).to(dtype) for path in (a, b))
    return source_features(source_a, source_b)
