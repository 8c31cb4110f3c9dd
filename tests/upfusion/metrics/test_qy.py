import pytest
import torch

from upfusion.metrics.qy import qy

from .conftest import Scene
from .oracles import Case, assert_agrees, oracle


@oracle("QY")
def test_agrees_with_the_field(case: Case) -> None:
    assert_agrees("qy", case, rel=1e-7)


@pytest.fixture
def textured() -> Scene:
    generator = torch.Generator().manual_seed(0)
    a, b, f = torch.randint(0, 256, (3, 2, 1, 40, 50), generator=generator).double().unbind(0)
    return a, b, f


def test_a_copy_of_both_sources(textured: Scene) -> None:
    a, _, _ = textured
    assert qy(a, a, a).tolist() == pytest.approx([1, 1], abs=1e-9)


def test_a_copy_of_either_of_two_different_sources(textured: Scene) -> None:
    a, b, _ = textured
    assert qy(a, b, a).tolist() == pytest.approx([1, 1], abs=1e-9)
    assert qy(a, b, b).tolist() == pytest.approx([1, 1], abs=1e-9)


def test_where_the_sources_are_similar_both_count(textured: Scene) -> None:
    a, b, _ = textured
    near = 0.9 * a + 0.1 * b
    value = qy(a, near, a)
    assert ((value > 0.9) & (value < 0.999)).all()


def test_shared_black_surroundings_have_no_meaning(textured: Scene) -> None:
    for image in textured:
        image[0, :, :10, :10] = 0
    shared, textured_everywhere = qy(*textured).isnan().tolist()
    assert (shared, textured_everywhere) == (True, False)


def test_other_shared_flat_areas_are_told_from_rounding(textured: Scene) -> None:
    a, b, f = textured
    a[:, :, :20, :20], b[:, :, :20, :20], f[:, :, :20, :20] = 77, 140, 201
    assert qy(a, b, f).isnan().all()


@pytest.mark.parametrize(("height", "width"), [(10, 40), (40, 10)])
def test_too_small(textured: Scene, height: int, width: int) -> None:
    assert qy(*(image[..., :height, :width] for image in textured)).isnan().all()


def test_the_smallest_size(textured: Scene) -> None:
    assert qy(*(image[..., :11, :11] for image in textured)).isfinite().all()
