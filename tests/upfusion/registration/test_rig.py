import json
from pathlib import Path

import numpy as np
import pytest

from tests.upfusion.registration.scenes import SIZE, planted
from upfusion.registration.cubic_field import CubicField
from upfusion.registration.rig import Rig, RigError

FIELD = CubicField((0.5, 1, 0, 0, 0, 0, -3, 0, 0, 0), (0, 0, 1, 0, 0, 0, 0, 0, 2, 0))
RIG = Rig(SIZE, (160, 120), planted(), FIELD, 16, 0.41, 0.3, 0.9, {"method": "test", "from": ["a", "b"]})


def test_json_and_back(tmp_path: Path) -> None:
    RIG.save(tmp_path / "rig.json")
    again = Rig.from_json((tmp_path / "rig.json").read_text())
    assert again.matrix == pytest.approx(RIG.matrix, abs=1e-9)
    assert (again.a_size, again.b_size, again.field, again.pairs) == (RIG.a_size, RIG.b_size, RIG.field, RIG.pairs)
    assert (again.score, again.uncertainty, again.overlap) == (0.41, 0.3, 0.9)
    assert again.provenance == RIG.provenance
    assert again.digest() == RIG.digest()
    assert again.to_json() == RIG.to_json()


def test_json_has_a_line_per_field() -> None:
    lines = RIG.to_json().splitlines()
    assert [line.split('"')[1] for line in lines[1:-1]] == [
        *("a_size", "b_size", "matrix", "field", "pairs", "score", "uncertainty", "overlap", "provenance")
    ]


def test_the_digest_is_of_what_changes_pixels() -> None:
    same = Rig(RIG.a_size, RIG.b_size, RIG.matrix, RIG.field)
    assert same.digest() == RIG.digest()
    assert Rig(RIG.a_size, RIG.b_size, RIG.matrix).digest() != RIG.digest()


def test_there_and_back() -> None:
    points = np.array([[10.0, 20.0], [300.0, 200.0], [160.0, 120.0]])
    assert RIG.to_a(RIG.to_b(points)) == pytest.approx(points, abs=0.01)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"a_size": [640]}, "a_size"),
        ({"b_size": [640, 0]}, "b_size"),
        ({"matrix": [[1, 0], [0, 1]]}, "matrix"),
        ({"matrix": None}, "matrix"),
        ({"matrix": [[0, 0, 0]] * 3}, "matrix"),
        ({"field": {"x": [1, 2]}}, "field"),
        ({"field": {"x": [1] * 9, "y": [1] * 10}}, "field"),
        ({"score": "good"}, "score"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, object], words: str) -> None:
    with pytest.raises(RigError, match=words):
        Rig.from_json(json.dumps(json.loads(RIG.to_json()) | change))


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "3"])
def test_what_is_no_rig_is_refused(text: str) -> None:
    with pytest.raises(RigError):
        Rig.from_json(text)


def test_it_says_what_it_does() -> None:
    for value in ("160x120", "320x240", "90%", "0.41", "0.30 px"):
        assert value in RIG.describe()
