from pathlib import Path

import pytest
import torch

from upfusion.metric_names import COSTLY_METRICS, METRIC_NAMES
from upfusion.metrics import DEFAULT_METRICS, METRICS

from .conftest import Scene

NAMES = list(METRICS)

every_metric = pytest.mark.parametrize("name", NAMES)


def test_every_metric_has_its_place() -> None:
    assert {"vif_balanced", "ssim_balanced", "qp", "ms_ssim", "nabf", "qcb", "qy"} < set(METRICS)
    assert METRICS["qp"].costly
    assert list(DEFAULT_METRICS) == [name for name in METRICS if not METRICS[name].costly]


def test_options_know_the_same_names():
    assert tuple(METRICS) == METRIC_NAMES
    assert {name for name in METRICS if METRICS[name].costly} == COSTLY_METRICS
    assert METRICS["vif"].higher_is_better
    assert METRICS["nabf"].higher_is_better is False


@every_metric
def test_is_described(name: str) -> None:
    metric = METRICS[name]
    assert metric.name == name
    assert all((metric.title, metric.published, metric.equals, metric.otherwise_none))
    assert metric.doi.startswith("10.")
    assert metric.lowest < metric.highest
    assert metric.higher_is_better in (True, False, None)


@every_metric
def test_the_docs_name_it_and_its_source(name: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    assert f"`{name}`" in page
    assert f"https://doi.org/{METRICS[name].doi}" in page


@every_metric
def test_stays_in_its_range(large: Scene, name: str) -> None:
    value = METRICS[name](*large)
    assert ((value >= METRICS[name].lowest) & (value <= METRICS[name].highest)).all()
    assert value.isfinite().all()


@every_metric
def test_a_batch_is_its_pairs(large: Scene, name: str) -> None:
    together = METRICS[name](*large)
    alone = torch.cat([METRICS[name](*(image[i : i + 1] for image in large)) for i in range(2)])
    assert together.shape == (2,)
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=0)
    assert together[0] != together[1]


@every_metric
def test_float32_is_close_to_float64(large: Scene, name: str) -> None:
    exact = METRICS[name](*large)
    single = METRICS[name](*(image.float() for image in large))
    assert exact.dtype == torch.float64
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=0)


@every_metric
def test_float32_is_close_to_float64_on_nearly_flat_images(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    specks = (torch.rand(3, 2, 1, 120, 90, generator=generator, dtype=torch.float64) < 0.01).double()
    a, b = specks[0] + 200, specks[1] + 3
    f = specks[0] + 2 * specks[1] + specks[2] + 245
    exact = METRICS[name](a, b, f)
    single = METRICS[name](a.float(), b.float(), f.float())
    torch.testing.assert_close(single.double(), exact, rtol=1e-3, atol=0, equal_nan=True)


@every_metric
def test_leaves_the_images_alone(large: Scene, name: str) -> None:
    before = [image.clone() for image in large]
    METRICS[name](*large)
    assert all(torch.equal(image, copy) for image, copy in zip(large, before, strict=True))


@every_metric
def test_takes_views(large: Scene, name: str) -> None:
    views = [image.transpose(2, 3)[..., 3:-3, :] for image in large]
    values = METRICS[name](*views)
    torch.testing.assert_close(values, METRICS[name](*(view.contiguous() for view in views)), rtol=1e-12, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_metric
def test_cuda_gives_the_same(large: Scene, name: str) -> None:
    for images in (large, tuple(image.float() for image in large)):
        value = METRICS[name](*(image.cuda() for image in images))
        assert value.is_cuda
        # TF32 would be off by far more than this.
        torch.testing.assert_close(value.cpu(), METRICS[name](*images), rtol=1e-4, atol=0)
