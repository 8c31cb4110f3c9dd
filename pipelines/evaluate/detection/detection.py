"""Detection as a measure of fusion: pedestrians detected in A, in B and in every method's images, against boxes."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipelines.checkpoints.read import read_object
from pipelines.errors.exceptions import UsageError
from pipelines.errors.failures import Row
from pipelines.evaluate.config import EvaluateConfig
from pipelines.evaluate.detection.average_precision import AveragePrecision, average_precision, require_evaluator
from pipelines.evaluate.detection.boxes import FoundBoxes, People, find_boxes, parse_boxes
from pipelines.evaluate.detection.detect import DetectorConfig, detector_digest, load_detector
from pipelines.evaluate.rows import OK
from pipelines.evaluate.sets import EvaluationSet
from pipelines.sources.preparation import Preparation
from pipelines.storage import objects as storage


@dataclass(frozen=True)
class Detection:
    """A pedestrian detector, and the box files."""

    config: DetectorConfig
    weights: bytes = field(repr=False)
    boxes: dict[str, FoundBoxes]
    """By name of the set."""

    @property
    def identity(self) -> str:
        """Everything that affects the detections."""
        return detector_digest(self.config, self.weights)

    def has_boxes(self, set_name: str, pair_id: str) -> bool:
        """Tell whether a pair has a box file."""
        return pair_id in self.boxes[set_name].uris


@dataclass(frozen=True)
class Detected:
    """The detection result of one method on a set."""

    set: str
    method: str
    precision: AveragePrecision


def plan_detection(config: EvaluateConfig, sets: list[EvaluationSet]) -> Detection | None:
    """Read the detector and find the boxes; raises UsageError if there are none or the weights do not fit."""
    if config.detect is None:
        return None
    require_evaluator()
    weights = read_object(config.detect, "--detect")
    try:
        detector = DetectorConfig(config.detector, config.person)
        load_detector(detector, weights, config.detect)
        boxes = {one.name: find_boxes(one.folder, [*one.ids, *one.others]) for one in sets}
    except (OSError, ValueError) as error:
        raise UsageError(f"--detect: {storage.redact(str(error))}") from error
    if not any(found.uris for found in boxes.values()):
        raise UsageError(
            f"--detect: no boxes below {', '.join(one.folder for one in sets)}; expected Annotations/NAME.xml (VOC) or "
            "labels/NAME.txt (YOLO) with the names of the pairs"
        )
    return Detection(detector, weights, boxes)


def judge_detections(
    detection: Detection | None,
    sets: list[EvaluationSet],
    methods: list[str],
    rows: pa.Table,
    preparation: Preparation,
) -> tuple[list[Detected], dict[str, str]]:
    """Return every method's average precision on every set, and why box files could not be used, by URI.

    Boxes are in pixels of A as it is stored, and move along where a rig crops A.

    On each set all methods are evaluated on the same pairs: those with boxes on which every method that has any image
    has one.
    """
    judged: list[Detected] = []
    unusable: dict[str, str] = {}
    for one in sets if detection else ():
        assert detection is not None
        people, wrong = _read_people(detection.boxes[one.name].uris, rows, one.name, preparation)
        unusable |= wrong
        found = {method: _detections_of(rows, one.name, method) for method in methods}
        found = {method: of_pairs for method, of_pairs in found.items() if of_pairs}
        common = sorted(set(people).intersection(*found.values())) if found else []
        truths = [people[pair_id] for pair_id in common]
        for method, of_pairs in found.items():
            precision = average_precision(truths, [of_pairs[pair_id] for pair_id in common])
            judged.append(Detected(one.name, method, precision))
    return judged, unusable


def _read_people(
    uris: dict[str, str], rows: pa.Table, set_name: str, preparation: Preparation
) -> tuple[dict[str, People], dict[str, str]]:
    sizes = {
        row["pair_id"]: (row["width"], row["height"])
        for row in rows.select(["set", "pair_id", "width", "height"]).to_pylist()
        if row["set"] == set_name and row["width"]
    }
    wanted = {pair_id: uri for pair_id, uri in uris.items() if pair_id in sizes}
    people: dict[str, People] = {}
    unusable: dict[str, str] = {}
    for (pair_id, uri), data in zip(wanted.items(), storage.read_many(list(wanted.values())), strict=True):
        try:
            if isinstance(data, Exception):
                raise data
            warp = preparation.canvas(pair_id)
            if warp is None:
                people[pair_id] = parse_boxes(data, uri, *sizes[pair_id])
            else:
                people[pair_id] = parse_boxes(data, uri, *warp.rig.a_size).within(*warp.box)
        except Exception as error:  # noqa: BLE001  # whatever a store or a file does is reported of that file
            unusable[uri] = storage.redact(str(error))
    return people, unusable


def _detections_of(rows: pa.Table, set_name: str, method: str) -> dict[str, np.ndarray]:
    chosen: list[Row] = rows.select(["set", "method", "pair_id", "status", "detections"]).to_pylist()
    return {
        row["pair_id"]: np.array(row["detections"], np.float64).reshape(-1, 5)
        for row in chosen
        if (row["set"], row["method"], row["status"]) == (set_name, method, OK) and row["detections"] is not None
    }
