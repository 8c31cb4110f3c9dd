"""The step between decoding and fusing."""

import re
from typing import Any

import numpy as np
import pytest

from pipelines.rigs.register import Register
from tests.upfusion.registration.scenes import SIZE, planted, scene, seen_through
from upfusion.registration.coordinates import similarity, translation
from upfusion.registration.rig import Rig
from upfusion.registration.rig_set import RigSet

TRUTH = planted()
RIGS = RigSet.single(Rig(SIZE, SIZE, TRUTH)).to_json()


def row(pair_id: str = "x", task: str = "ir_visible") -> dict[str, Any]:
    return {"pair_id": pair_id, "task": task, "error_code": None, "error": None, "note": None}


def test_a_registered_pair_is_scored_and_left_alone() -> None:
    one, (a, b) = row(), scene(0)
    same = Register()(one, a, b)
    assert same[0] is a
    assert same[1] is b
    assert one["alignment"] > 0.9
    assert (one["rig"], one["note"], one["error_code"]) == (None, None, None)


def test_an_unregistered_pair_is_noted() -> None:
    one, (a, b) = row(), scene(0)
    Register()(one, a, seen_through(translation(12, 0), b))
    assert one["alignment"] < 0.45
    assert " 12 px" in one["note"]
    assert one["error_code"] is None


def test_an_unregistered_pair_fails_where_that_was_asked_for() -> None:
    one, (a, b) = row(), scene(0)
    Register(misaligned="fail")(one, a, seen_through(translation(12, 0), b))
    assert one["error_code"] == "not_registered"
    assert " 12 px" in one["error"]
    assert "upfusion align" in one["error"]


@pytest.mark.parametrize("task", ["ct_mri", "pet_mri", "spect_mri"])
def test_nothing_is_said_of_medical_pairs(task: str) -> None:
    one, (a, b) = row(task=task), scene(0)
    Register(misaligned="fail")(one, a, seen_through(translation(12, 0), b))
    assert (one["alignment"], one["note"], one["error_code"]) == (None, None, None)


def test_a_rig_warps_b_and_is_named() -> None:
    one, (a, b) = row(), scene(0)
    warped_a, warped_b = Register(RIGS)(one, a, seen_through(TRUTH, b))
    assert warped_a.shape == warped_b.shape
    assert warped_a.size < a.size
    assert one["alignment"] > 0.9
    assert one["rig"] == RigSet.from_json(RIGS).digest()


def test_where_b_does_not_see_all_of_a_goes_on() -> None:
    rigs = RigSet.single(Rig(SIZE, SIZE, similarity(0.5, 0, (159.5, 119.5)))).to_json()
    one, (a, _) = row(), scene(0)
    warped_a, warped_b = Register(rigs, canvas="a")(one, a, np.full((240, 320), 65535, np.uint16))
    assert (warped_a == a).all()
    assert (warped_b[:50] == np.rint(a[:50] / np.float32(255) * 65535)).all()
    assert (warped_b[100:140, 120:200] == 65535).all()


def test_another_size_than_the_rigs_fails_the_pair() -> None:
    one = row()
    Register(RIGS)(one, np.zeros((100, 100), np.uint8), scene(0)[1])
    assert one["error_code"] == "rig_mismatch"
    assert "320x240" in one["error"]
    assert "100x100" in one["error"]


def test_a_camera_without_a_rig_fails_its_pairs() -> None:
    rigs = RigSet({"cam3": Rig(SIZE, SIZE, TRUTH)}, "1").to_json()
    known, unknown = row("cam3/1"), row("cam9/1")
    for one in (known, unknown):
        Register(rigs)(one, *scene(0))
    assert known["error_code"] is None
    assert known["rig"].startswith("cam3@")
    assert unknown["error_code"] == "rig_mismatch"
    assert "camera 'cam9'" in unknown["error"]


def test_a_shaken_pair_is_corrected_where_that_was_asked_for() -> None:
    a, b = scene(0)
    shaken = seen_through(translation(5, -4) @ TRUTH, b)
    plain, refined = row(), row()
    Register(RIGS)(plain, a, shaken)
    Register(RIGS, refine="pair")(refined, a, shaken)
    assert refined["alignment"] > 0.9 > plain["alignment"]
    assert re.match(r"B corrected .*\b6\.\d", refined["note"])
