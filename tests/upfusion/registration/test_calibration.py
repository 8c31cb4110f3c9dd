import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from tests.upfusion.registration.scenes import SIZE, planted
from upfusion.registration.calibration import read_rig
from upfusion.registration.coordinates import apply, distance, grid
from upfusion.registration.rig import Rig, RigError

TRUTH = planted()


def _npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("h.json", json.dumps(TRUTH.tolist()).encode()),
        ("h.json", json.dumps({"homography": (5 * TRUTH).tolist()}).encode()),
        ("h.yaml", yaml.safe_dump({"matrix": TRUTH.tolist()}).encode()),
        ("h.yml", yaml.safe_dump({"H": TRUTH.tolist()}).encode()),
        ("h.npy", _npy(TRUTH)),
        ("h.json", Rig(SIZE, SIZE, TRUTH).to_json().encode()),
    ],
)
def test_a_matrix_in_any_file(name: str, data: bytes) -> None:
    rig = read_rig(data, name, SIZE, SIZE)
    assert distance(TRUTH, rig.matrix, SIZE, SIZE) < 1e-6
    assert (rig.a_size, rig.b_size) == (SIZE, SIZE)


@pytest.mark.parametrize("head", ["", "ax,ay,bx,by\n", "bx, by, ax, ay\n"])
def test_pairs_of_points(head: str) -> None:
    b = grid(SIZE, 3, 2)
    a = apply(TRUTH, b)
    columns = np.hstack([b, a] if head.startswith("bx") else [a, b])
    rows = "\n".join(",".join(f"{value:.9f}" for value in row) for row in columns)
    rig = read_rig((head + rows).encode(), "points.csv", SIZE, SIZE)
    assert distance(TRUTH, rig.matrix, SIZE, SIZE) < 1e-3
    assert rig.provenance["points"] == 6


def test_a_wrong_point_among_many_does_not_matter() -> None:
    b = grid(SIZE, 4, 4)
    a = apply(TRUTH, b)
    a[5] += 40
    rows = "\n".join(",".join(map(str, row)) for row in np.hstack([a, b]).tolist())
    assert distance(TRUTH, read_rig(rows.encode(), "points.csv", SIZE, SIZE).matrix, SIZE, SIZE) < 0.1


@pytest.mark.parametrize("suffix", ["yml", "xml", "json"])
def test_a_stereo_calibration_of_opencv(suffix: str, tmp_path: Path) -> None:
    parts = _stereo()
    path = tmp_path / f"stereo.{suffix}"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for name, value in parts.items():
        storage.write(name, value)
    storage.release()
    rig = read_rig(path.read_bytes(), f"stereo.{suffix}@12", SIZE, SIZE)
    # A plane 12 away that faces A.
    plane = np.array([[-1.0, -0.5, 12.0], [2.0, 1.0, 12.0], [0.0, 0.0, 12.0], [-2.5, 1.5, 12.0]])
    zero = np.zeros(3)
    in_a = cv2.projectPoints(plane, zero, zero, parts["K1"], parts["D1"])[0][:, 0]
    in_b = cv2.projectPoints(plane @ parts["R"].T + parts["T"].T, zero, zero, parts["K2"], parts["D2"])[0][:, 0]
    assert rig.to_b(in_a) == pytest.approx(in_b, abs=0.3)
    far = read_rig(path.read_bytes(), f"stereo.{suffix}", SIZE, SIZE)
    assert np.hypot(*(far.to_b(in_a) - in_b).T).min() > 3  # parallax of a baseline of 0.3 at 12


def test_a_stereo_calibration_in_plain_yaml() -> None:
    parts = {name: value.tolist() for name, value in _stereo().items()}
    rig = read_rig(yaml.safe_dump(parts).encode(), "stereo.yaml@12", SIZE, SIZE)
    other = {"M1": parts.pop("K1"), "M2": parts.pop("K2"), **parts}
    assert read_rig(yaml.safe_dump(other).encode(), "stereo.yaml@12", SIZE, SIZE).digest() == rig.digest()


def _stereo() -> dict[str, np.ndarray]:
    k1 = np.array([[300.0, 0, 160], [0, 300.0, 118], [0, 0, 1]])
    k2 = np.array([[330.0, 0, 155], [0, 330.0, 122], [0, 0, 1]])
    turn, _ = cv2.Rodrigues(np.array([0.01, -0.03, 0.02]))
    d1, d2 = np.array([[-0.05, 0.01, 0, 0, 0]]), np.array([[-0.12, 0.02, 0, 0, 0]])
    return {"K1": k1, "D1": d1, "K2": k2, "D2": d2, "R": turn, "T": np.array([[0.3], [0.02], [0.0]])}


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("h.txt", b"1 0 0", r"h\.txt"),
        ("h.json", b"{", "JSON"),
        ("h.json", b"{}", "matrix"),
        ("h.json", b"[[1, 0], [0, 1]]", "3x3"),
        ("h.yaml", b"a: [", "YAML"),
        ("h.yaml", b"!!python/object:os.system {}", "YAML"),
        ("h.npy", b"\x93NUMPY", "NPY"),
        ("h.csv", b"", "empty"),
        ("h.csv", b"1,2,3,4\n", "four"),
        ("h.csv", b"1,2,3,x\n" * 4, "numbers"),
        ("h.csv", b"1,2,3,nan\n" * 4, "NaN"),
        ("h.csv", b"1,2,3,4\n" * 4, "line|singular|finite"),
        ("h.json", b"[[1, 0, 9000], [0, 1, 0], [0, 0, 1]]", "overlap"),
        ("h.json", b'{"K1": [1], "K2": [1], "R": [1], "T": [1]}', "K1.* 9 "),
        ("h.yaml@-3", b"", "distance.* 0"),
        ("h.json", b"\xff\xfe\x00", "text"),
    ],
)
def test_what_is_wrong_is_said(name: str, data: bytes, words: str) -> None:
    with pytest.raises(RigError, match=words):
        read_rig(data, name, SIZE, SIZE)


def test_no_pickled_array_is_loaded() -> None:
    with pytest.raises(RigError, match="NPY"):
        read_rig(_npy(np.array([{}], dtype=object)), "h.npy", SIZE, SIZE)


def test_sizes_are_needed_where_a_file_has_none() -> None:
    with pytest.raises(RigError, match=r"h\.json.*sizes"):
        read_rig(json.dumps(TRUTH.tolist()).encode(), "h.json")
