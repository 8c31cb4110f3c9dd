"""COCO's average precision of detections, by COCO's own evaluator."""

import contextlib
import importlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors.exceptions import UsageError
from pipelines.evaluate.detection.boxes import People

PERSON = 1
MOST_DETECTIONS = 100
"""Detections per image that count, by score."""


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision over images; None if no person is in any of them."""

    ap50: float | None
    """Average precision at an intersection over union of 0.5, in [0, 1]."""
    ap: float | None
    """Its mean over the thresholds 0.50, 0.55, ... 0.95."""
    images: int
    people: int
    """Number of boxes to detect, without the difficult ones."""


def average_precision(truths: Sequence[People], detections: Sequence[NDArray[np.float64]]) -> AveragePrecision:
    """Compare the people in every image with the detections in it: `(N, 5)` of x1, y1, x2, y2, score.

    It is COCO's average precision (Lin et al. 2014, doi:10.1007/978-3-319-10602-1_48; 101 recall values, at most 100
    detections per image), for one class and any size. A difficult box is COCO's crowd: a detection inside is neither
    right nor wrong. Raises UsageError if pycocotools is not installed, and ValueError if the lists differ in
    length.
    """
    require_evaluator()
    if len(truths) != len(detections):
        raise ValueError(f"{len(truths)} images with boxes and {len(detections)} with detections")
    people = sum(int((~truth.difficult).sum()) for truth in truths)
    if not people:
        return AveragePrecision(None, None, len(truths), 0)
    precision = _precision(_true_annotations(truths), _detected_annotations(detections), len(truths))
    return AveragePrecision(float(precision[0].mean()), float(precision.mean()), len(truths), people)


def require_evaluator() -> None:
    """Raise UsageError if the extra for average precision is not installed."""
    try:
        importlib.import_module("pycocotools.cocoeval")
    except ImportError as error:
        raise UsageError("average precision needs pycocotools: pip install 'upfusion[detect]'") from error


def _precision(truths: list[dict[str, Any]], detected: list[dict[str, Any]], images: int) -> NDArray[np.float64]:
    """Return precision by threshold and recall."""
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        evaluator = COCOeval(_dataset(truths, images), _dataset(detected, images), "bbox")
        evaluator.params.areaRng, evaluator.params.areaRngLbl = evaluator.params.areaRng[:1], ["all"]
        evaluator.params.maxDets = [MOST_DETECTIONS]
        evaluator.evaluate()
        evaluator.accumulate()
    return np.asarray(evaluator.eval["precision"])[:, :, 0, 0, 0]


def _dataset(annotations: list[dict[str, Any]], images: int) -> Any:
    from pycocotools.coco import COCO

    dataset = COCO()
    numbered = [annotation | {"id": number} for number, annotation in enumerate(annotations, 1)]  # 0 means none
    dataset.dataset = {
        "images": [{"id": image} for image in range(images)],
        "categories": [{"id": PERSON}],
        "annotations": numbered,
    }
    dataset.createIndex()
    return dataset


def _true_annotations(truths: Sequence[People]) -> list[dict[str, Any]]:
    return [
        _annotation(image, box) | {"iscrowd": int(difficult)}
        for image, truth in enumerate(truths)
        for box, difficult in zip(truth.boxes, truth.difficult, strict=True)
    ]


def _detected_annotations(detections: Sequence[NDArray[np.float64]]) -> list[dict[str, Any]]:
    return [
        _annotation(image, row[:4]) | {"iscrowd": 0, "score": float(row[4])}
        for image, rows in enumerate(detections)
        for row in rows
    ]


def _annotation(image: int, box: NDArray[np.float64]) -> dict[str, Any]:
    x1, y1, x2, y2 = map(float, box)
    width, height = x2 - x1, y2 - y1
    return {"image_id": image, "category_id": PERSON, "bbox": [x1, y1, width, height], "area": width * height}
