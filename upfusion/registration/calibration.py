"""Read rigs: what `upfusion align` wrote, and calibrations that were made elsewhere.

- a rig as JSON;
- a 3x3 matrix from B's pixels to A's as JSON, YAML or NPY (a bare list of lists, or under `matrix`, `H` or
  `homography`);
- pairs of points as CSV (`ax, ay, bx, by`, at least four);
- a stereo calibration of OpenCV (YAML, XML or JSON: `K1, D1, K2, D2, R, T` or `M1, D1, M2, D2, R, T`), for one
  distance.
"""

import csv
import io
import json
import re
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from upfusion.registration.coordinates import Size, apply, grid, normalised, overlap
from upfusion.registration.cubic_field import CubicField, centred, cubic_basis
from upfusion.registration.rig import Rig, RigError

_MATRIX_NAMES = ("matrix", "H", "homography", "Homography", "h")
_POINTS = (("ax", "ay", "bx", "by"), ("a_x", "a_y", "b_x", "b_y"), ("x_a", "y_a", "x_b", "y_b"))
_MAX_BYTES = 10_000_000


def read_rig(data: bytes, name: str, a_size: Size | None = None, b_size: Size | None = None) -> Rig:
    """Read a rig or a calibration from a file's bytes; its suffix in `name` says what it is.

    Sizes are those of the images, for calibrations that do not name them. `distance` may follow the name of a stereo
    calibration after `@`, in its units (`stereo.yaml@25`); without it objects are taken to be far away. Raises
    RigError.
    """
    path, _, distance = name.partition("@")
    if len(data) > _MAX_BYTES:
        raise RigError(f"{path}: {len(data)} bytes are no rig or calibration")
    try:
        return _read(data, path, _distance(distance), a_size, b_size)
    except RigError as error:
        raise RigError(f"{path}: {error}") from None


def from_matrix(matrix: Any, a_size: Size, b_size: Size, method: str = "matrix") -> Rig:
    """Make a rig of a 3x3 matrix from B's pixels to A's. Raises RigError for one by which they do not overlap."""
    try:
        checked = normalised(matrix)
    except (TypeError, ValueError) as error:
        raise RigError(str(error)) from None
    share = overlap(checked, a_size, b_size)
    if share <= 0:
        raise RigError("with this matrix A and B do not overlap; is it the transform of A's pixels to B's?")
    return Rig(a_size, b_size, checked, overlap=share, provenance={"method": method})


def from_points(a: NDArray[np.float64], b: NDArray[np.float64], a_size: Size, b_size: Size) -> Rig:
    """Fit a rig to pairs of points `(N, 2)` in A and in B, N at least 4. Raises RigError."""
    if len(a) < 4:
        raise RigError(f"expected at least four pairs of points, got {len(a)}")
    # Least median of squares bears wrong points, of which there can be none among four to six.
    method = 0 if len(a) < 7 else cv2.LMEDS
    matrix, _ = cv2.findHomography(b.astype(np.float64), a.astype(np.float64), method)
    if matrix is None:
        raise RigError("the points lie on a line or in one place; expected four that span the image")
    rig = from_matrix(matrix, a_size, b_size, "points")
    off = apply(rig.matrix, b) - a
    error = float(np.median(np.hypot(off[:, 0], off[:, 1])))
    return Rig(
        a_size,
        b_size,
        rig.matrix,
        overlap=rig.overlap,
        provenance={"method": "points", "points": len(a), "median_error": error},
    )


def from_stereo(calibration: Mapping[str, Any], a_size: Size, b_size: Size, distance: float | None = None) -> Rig:
    """Make a rig of a stereo calibration as `cv2.stereoCalibrate` gives it, A being the first camera.

    `R` and `T` take points of the first camera to the second. Both lenses' distortion is in it, as far as a homography
    and a cubic field follow. It is exact for objects `distance` away (in units of `T`) on a plane that faces A; None
    means far away. Raises RigError.
    """
    k1, k2, r, t = (np.asarray(_part(calibration, name), np.float64) for name in ("K1", "K2", "R", "T"))
    d1, d2 = (np.asarray(calibration.get(name, np.zeros(5)), np.float64).ravel() for name in ("D1", "D2"))
    shift = t.reshape(3) / distance if distance else np.zeros(3)
    points = grid(a_size, 32, 24)
    rays = cv2.undistortPoints(points[:, None], k1, d1)[:, 0]
    seen = (np.hstack([rays, np.ones((len(rays), 1))]) @ r.reshape(3, 3).T) + shift
    if (seen[:, 2] <= 0).any():
        raise RigError("with this calibration B looks away from what A sees; expected R and T of the second camera")
    in_b = cv2.projectPoints(seen, np.zeros(3), np.zeros(3), k2, d2)[0][:, 0]
    visible = (in_b >= 0).all(axis=1) & (in_b[:, 0] < b_size[0]) & (in_b[:, 1] < b_size[1])
    if visible.sum() < 20:
        raise RigError(
            "with this calibration A and B do not overlap; do its camera matrices fit the sizes of the images?"
        )
    matrix, _ = cv2.findHomography(in_b[visible], points[visible], 0)
    rig = from_matrix(matrix, a_size, b_size)
    field = _field_through(points[visible], apply(rig.matrix, in_b[visible]), a_size)
    note = {"method": "stereo calibration", "distance": distance if distance else "far"}
    return Rig(a_size, b_size, rig.matrix, field, overlap=rig.overlap, provenance=note)


def _field_through(points: NDArray[np.float64], shown: NDArray[np.float64], a_size: Size) -> CubicField:
    """Return the cubic field that takes points of A to where the matrix alone brings what B shows there."""
    coefficients = np.linalg.lstsq(cubic_basis(centred(points, a_size)), shown - points, rcond=None)[0]
    return CubicField(tuple(coefficients[:, 0].tolist()), tuple(coefficients[:, 1].tolist()))


def _read(data: bytes, path: str, distance: float | None, a_size: Size | None, b_size: Size | None) -> Rig:
    suffix = path.rsplit(".", 1)[-1].lower()
    if suffix == "npy":
        return from_matrix(_npy(data), *_sizes(a_size, b_size))
    text = _text(data)
    if suffix == "csv":
        return from_points(*_points(text), *_sizes(a_size, b_size))
    if suffix not in ("json", "yaml", "yml", "xml"):
        raise RigError("expected a rig or a calibration as .json, .yaml, .yml, .xml, .npy or .csv")
    values = _values(text, suffix)
    if isinstance(values, Mapping):
        if "a_size" in values and "b_size" in values:
            return Rig.from_json(json.dumps(values))
        values = _renamed(values)
        if "K1" in values:
            return from_stereo(values, *_sizes(a_size, b_size), distance)
        found = next((values[name] for name in _MATRIX_NAMES if name in values), None)
        if found is None:
            raise RigError("expected a rig, a matrix (under 'matrix', 'H' or 'homography') or K1, D1, K2, D2, R, T")
        values = found
    return from_matrix(values, *_sizes(a_size, b_size))


def _values(text: str, suffix: str) -> Any:
    if suffix == "xml" or "%YAML" in text[:40] or "opencv-matrix" in text:
        return _file_storage(text, suffix)
    try:
        return json.loads(text) if suffix == "json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise RigError(f"cannot be read as {suffix.upper()}: {str(error).splitlines()[0]}") from None


def _file_storage(text: str, suffix: str) -> dict[str, Any]:
    """Return the matrices and numbers of a file that cv2.FileStorage wrote."""
    names = set(re.findall(r"^\s*<?\"?([A-Za-z_]\w*)[\">:\s]", text, re.MULTILINE))
    kind = {"xml": cv2.FILE_STORAGE_FORMAT_XML, "json": cv2.FILE_STORAGE_FORMAT_JSON}
    flags = cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY | kind.get(suffix, cv2.FILE_STORAGE_FORMAT_YAML)
    try:
        storage = cv2.FileStorage(text, flags)
        found = {name: storage.getNode(name) for name in names}
        return {name: node.mat() for name, node in found.items() if node.isMap() and node.mat() is not None}
    except cv2.error:
        raise RigError("cannot be read as a file of OpenCV's FileStorage") from None


def _renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a calibration under the names that OpenCV's documentation uses, whatever a tool called its parts."""
    names = {
        "M1": "K1", "M2": "K2", "cameraMatrix1": "K1", "cameraMatrix2": "K2", "camera_matrix_1": "K1",
        "camera_matrix_2": "K2", "distCoeffs1": "D1", "distCoeffs2": "D2", "dist_coeffs_1": "D1", "dist_coeffs_2": "D2",
    }  # fmt: skip
    return {names.get(name, name): value for name, value in values.items()}


def _part(calibration: Mapping[str, Any], name: str) -> Any:
    value = calibration.get(name)
    size = 3 if name == "T" else 9
    try:
        whole = np.asarray(value, np.float64).size == size and np.isfinite(np.asarray(value, np.float64)).all()
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise RigError(f"a stereo calibration's {name}: expected {size} numbers")
    return np.asarray(value, np.float64).reshape((3, 3) if size == 9 else (3,))


def _points(text: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text)) if "".join(row).strip()]
    if not rows:
        raise RigError("expected pairs of points, got an empty file")
    order = (0, 1, 2, 3)
    head = [cell.lower() for cell in rows[0]]
    named = next((names for names in _POINTS if all(name in head for name in names)), None)
    if named is not None:
        order, rows = tuple(head.index(name) for name in named), rows[1:]  # type: ignore[assignment]
    try:
        values = np.array([[float(row[column]) for column in order] for row in rows], np.float64).reshape(-1, 4)
    except (ValueError, IndexError):
        raise RigError("expected a row of four numbers per pair of points, with the head ax,ay,bx,by") from None
    if not np.isfinite(values).all():
        raise RigError("a point's coordinates are NaN or Inf")
    return values[:, :2], values[:, 2:]


def _npy(data: bytes) -> NDArray[Any]:
    try:
        # NumPy's default refuses pickled objects.
        return np.asarray(np.lib.format.read_array(io.BytesIO(data)))
    except (ValueError, EOFError, OSError) as error:
        raise RigError(f"cannot be read as NPY: {error}") from None


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RigError("expected text, got something else") from None


def _distance(text: str) -> float | None:
    if not text:
        return None
    try:
        distance = float(text)
    except ValueError:
        distance = 0.0
    if not distance > 0:
        raise RigError(f"expected a distance above 0 after @, got {text!r}")
    return distance


def _sizes(a_size: Size | None, b_size: Size | None) -> tuple[Size, Size]:
    if a_size is None or b_size is None:
        raise RigError("this calibration does not name the sizes of A and B, and no pair is there to take them from")
    return a_size, b_size
