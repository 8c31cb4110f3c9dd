import numpy as np
import pytest

from tests.upfusion.registration.scenes import SIZE, planted, unregistered, views_of
from upfusion.registration.coordinates import corner_distance, middle, similarity, translation
from upfusion.registration.pair_refinement import pair_correction
from upfusion.registration.rig import Rig


def test_a_steady_pair_is_left_alone() -> None:
    truth = planted()
    assert pair_correction(Rig(SIZE, SIZE, truth), views_of(unregistered(1, truth))[0]) is None


@pytest.mark.parametrize(
    ("jitter", "kind"),
    [(translation(4, -3), "shift"), (similarity(1.02, 1.0, middle(SIZE)) @ translation(2, 2), "similarity")],
)
def test_a_shaken_pair_is_moved_into_place(jitter: np.ndarray, kind: str) -> None:
    truth = planted()
    shaken = views_of(unregistered(1, jitter @ truth))[0]
    found = pair_correction(Rig(SIZE, SIZE, truth), shaken)
    assert found is not None
    assert found[1] == kind
    assert corner_distance(jitter, found[0], SIZE) < 0.5 < corner_distance(jitter, np.eye(3), SIZE)
