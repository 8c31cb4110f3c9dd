import numpy as np
import pytest

from tests.upfusion.registration.scenes import SIZE, planted
from upfusion.registration.camera_names import camera_of
from upfusion.registration.rig import Rig, RigError
from upfusion.registration.rig_set import RigSet

ONE, OTHER = Rig(SIZE, SIZE, planted()), Rig(SIZE, SIZE, np.eye(3))


@pytest.mark.parametrize(
    ("pair_id", "per", "camera"),
    [
        ("cam3/2024/0001", None, ""),
        ("cam3/2024/0001", "1", "cam3"),
        ("cam3/2024/0001", "2", "cam3/2024"),
        ("cam3/2024/0001", "3", ""),
        ("0001", "1", ""),
        ("site1/cam3/0001", "site?/cam*", "site1/cam3"),
        ("190001", "??", "19"),
        ("yard/cam3", "cam*", ""),
        ("cam+1/x", "cam+*", "cam+1"),
    ],
)
def test_the_camera_of_a_pair(pair_id: str, per: str | None, camera: str) -> None:
    assert camera_of(pair_id, per) == camera


def test_a_level_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="level"):
        camera_of("a/b", "0")


def test_one_rig_for_all_is_a_rig_as_it_is() -> None:
    rigs = RigSet.single(ONE)
    assert rigs.to_json() == ONE.to_json()
    assert RigSet.from_json(rigs.to_json()).of("any/pair")[1] is not None
    assert rigs.digest() == ONE.digest()


def test_rigs_by_camera_and_back() -> None:
    rigs = RigSet({"cam3": ONE, "cam7": OTHER}, "1")
    again = RigSet.from_json(rigs.to_json())
    assert again.digest() == rigs.digest() != RigSet({"cam3": OTHER, "cam7": ONE}, "1").digest()
    camera, rig = again.of("cam7/0001")
    assert (camera, rig and rig.digest()) == ("cam7", OTHER.digest())
    assert again.of("cam9/0001") == ("cam9", None)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"rigs": []}', '{"rigs": {}, "per": 1}', '{"per": "1", "rigs": {"x": {}}}']
)
def test_what_is_no_set_is_refused(text: str) -> None:
    with pytest.raises(RigError):
        RigSet.from_json(text)


def test_rigs_of_cameras_one_folder_deeper() -> None:
    rig = Rig((320, 240), (320, 240), np.eye(3))
    by_level = RigSet({"cam3": rig}, "1").below(["night", "day"])
    assert by_level.of("night/cam3/0001") == ("night/cam3", rig)
    assert by_level.of("dusk/cam3/0001")[1] is None
    assert RigSet({"site1/cam3": rig}, "site?/cam*").below(["night"]).of("night/site1/cam3/0001")[1] is rig
    assert RigSet.single(rig).below(["night"]).of("night/0001")[1] is rig
