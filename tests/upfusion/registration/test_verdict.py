import numpy as np
import pytest

from tests.upfusion.registration.scenes import planted, scene, seen_through, unregistered, views_of
from upfusion.registration.coordinates import translation
from upfusion.registration.verdict import archive_verdict


def test_registered_pairs_are_said_to_be() -> None:
    verdict = archive_verdict(views_of([scene(seed) for seed in range(4)]))
    assert verdict.state == "aligned"
    assert " 4 " in verdict.describe()


@pytest.mark.parametrize("pixels", [4, 12])
def test_displaced_pairs_are_said_to_be_with_the_distance(pixels: int) -> None:
    verdict = archive_verdict(views_of(unregistered(4, translation(pixels, 0))))
    assert verdict.unaligned
    assert verdict.displacement == pytest.approx(pixels, abs=0.3)
    assert f" {pixels} px" in verdict.describe()


def test_a_large_displacement_is_found_by_searching() -> None:
    truth = planted(1.3, 6, (40, 25))
    pairs = views_of(unregistered(1, truth))
    assert archive_verdict(pairs, search=False).state == "unknown"
    assert archive_verdict(pairs).unaligned


def test_nothing_is_said_of_pairs_without_common_edges() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (3, 240, 320), np.uint8)
    verdict = archive_verdict(views_of([(scene(seed)[0], noise[seed]) for seed in range(3)]), search=False)
    assert verdict.state == "unknown"
    assert verdict.displacement is None


def test_half_a_degree_of_the_size_is_no_reason_to_complain() -> None:
    verdict = archive_verdict(
        views_of([(a, seen_through(translation(0.3, 0.2), b)) for a, b in (scene(s) for s in range(4))])
    )
    assert not verdict.unaligned
