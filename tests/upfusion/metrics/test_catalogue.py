import math

import pytest
import torch

from upfusion.metrics import METRICS, measure

from .conftest import Scene

NAMES = ["vif", "ssim", "qabf", "mi", "scd", "cc", "en", "sd", "sf", "ag", "psnr"]

every_metric = pytest.mark.parametrize("name", NAMES)


def test_the_catalogue_describes_every_metric() -> None:
    assert list(METRICS) == NAMES
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.title
        assert metric.higher_is_better is True


def test_measures_what_is_asked_for(scene: Scene) -> None:
    values = measure(*scene, ["sd", "vif"])
    assert list(values) == ["sd", "vif"]
    for name, row in values.items():
        assert row == METRICS[name](*scene).tolist()
        assert all(isinstance(value, float) for value in row)


def test_measures_nothing(scene: Scene) -> None:
    assert measure(*scene, []) == {}


def test_measures_an_empty_batch() -> None:
    nothing = torch.zeros(0, 1, 64, 64)
    assert measure(nothing, nothing, nothing, NAMES) == {name: [] for name in NAMES}


def test_refuses_an_unknown_name(scene: Scene) -> None:
    with pytest.raises(ValueError, match=r"'viff'.*vif, ssim, qabf, mi, scd, cc, en, sd, sf, ag, psnr"):
        measure(*scene, ["vif", "viff"])


def test_refuses_sources_of_another_shape(scene: Scene) -> None:
    a, b, f = scene
    with pytest.raises(ValueError, match=r"source B .*\(2, 1, 120, 90\), got \(2, 1, 119, 90\)"):
        measure(a, b[:, :, 1:], f, NAMES)
    with pytest.raises(ValueError, match=r"source A .*\(2, 1, 120, 90\), got \(1, 1, 120, 90\)"):
        measure(a[:1], b, f, NAMES)


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (1, 3, 8, 8)])
def test_refuses_other_than_batches_of_luma(shape: tuple[int, ...]) -> None:
    image = torch.zeros(shape)
    with pytest.raises(ValueError, match=r"Expected .*\(N, 1, H, W\), got"):
        measure(image, image, image, NAMES)


def test_refuses_other_types(scene: Scene) -> None:
    a, b, f = scene
    with pytest.raises(ValueError, match=r"torch\.float64, got torch\.uint8"):
        measure(a.byte(), b.byte(), f.byte(), NAMES)
    with pytest.raises(ValueError, match=r"source A .*float64, got torch\.float32"):
        measure(a.float(), b, f, NAMES)


@every_metric
def test_a_batch_is_its_pairs(scene: Scene, name: str) -> None:
    together = METRICS[name](*scene)
    alone = torch.cat([METRICS[name](*(image[i : i + 1] for image in scene)) for i in range(2)])
    assert together.shape == (2,)
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=0)
    assert together[0] != together[1]


@every_metric
def test_float32_is_close_to_float64(scene: Scene, name: str) -> None:
    exact = METRICS[name](*scene)
    single = METRICS[name](*(image.float() for image in scene))
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
    torch.testing.assert_close(single.double(), exact, rtol=1e-3, atol=0)


@every_metric
def test_leaves_the_images_alone(scene: Scene, name: str) -> None:
    before = [image.clone() for image in scene]
    METRICS[name](*scene)
    assert all(torch.equal(image, copy) for image, copy in zip(scene, before, strict=True))


@every_metric
def test_takes_views(scene: Scene, name: str) -> None:
    views = [image.transpose(2, 3)[..., 3:-3, 2:-2] for image in scene]
    values = METRICS[name](*views)
    torch.testing.assert_close(values, METRICS[name](*(view.contiguous() for view in views)), rtol=1e-12, atol=0)


@pytest.mark.parametrize("flat", [0, 1, 2])
@pytest.mark.parametrize("level", [0.0, 200.0])
def test_a_flat_image_has_no_meaning(scene: Scene, flat: int, level: float) -> None:
    images = [image.clone() for image in scene]
    images[flat][1] = level
    for name, (textured, missing) in measure(*images, NAMES).items():
        assert textured is not None, name
        assert missing is None, name


@pytest.mark.parametrize("level", [float("nan"), float("inf")])
def test_a_broken_image_has_no_meaning(scene: Scene, level: float) -> None:
    a, b, f = scene
    f[1, 0, 5, 5] = level
    for name, (sound, broken) in measure(a, b, f, NAMES).items():
        assert sound is not None, name
        assert broken is None, name


def test_a_copy_of_one_source(scene: Scene) -> None:
    a, b, _ = scene
    without_meaning = {name for name, row in measure(a, b, a, NAMES).items() if None in row}
    assert without_meaning == {"scd"}


def test_a_copy_of_both_sources(scene: Scene) -> None:
    a, _, _ = scene
    without_meaning = {name for name, row in measure(a, a, a, NAMES).items() if None in row}
    assert without_meaning == {"scd", "psnr"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("height", [1, 2, 3, 10, 11, 40, 41])
@pytest.mark.parametrize("width", [1, 2, 5, 42])
def test_any_size_is_measured(height: int, width: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b, f = torch.randint(0, 256, (3, 1, 1, height, width), generator=generator).to(dtype)
    known = {name for name, row in measure(a, b, f, NAMES).items() if row != [None]}
    side = min(height, width)
    expected = set() if height * width == 1 else {"qabf", "mi", "scd", "cc", "en", "sd", "psnr"}
    expected |= {"sf", "ag"} if side >= 2 else set()
    expected |= {"ssim"} if side >= 11 else set()
    expected |= {"vif"} if side >= 41 else set()
    assert known == expected
    for metric in METRICS.values():
        assert not math.isinf(metric(a, b, f).item())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_metric
def test_cuda_gives_the_same(scene: Scene, name: str) -> None:
    for images in (scene, tuple(image.float() for image in scene)):
        value = METRICS[name](*(image.cuda() for image in images))
        assert value.is_cuda
        # TF32 would be off by far more than this.
        torch.testing.assert_close(value.cpu(), METRICS[name](*images), rtol=1e-4, atol=0)
