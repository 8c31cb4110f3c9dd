"""Average precision against values worked out by hand."""

import sys

import numpy as np
import pytest

from pipelines.errors.exceptions import UsageError
from pipelines.evaluate.detection.average_precision import average_precision, require_evaluator
from pipelines.evaluate.detection.boxes import People

ONE = [10.0, 10.0, 30.0, 60.0]
OTHER = [50.0, 10.0, 70.0, 60.0]
NOBODY_THERE = [80.0, 70.0, 95.0, 99.0]


def people(*boxes: list[float], difficult: tuple[bool, ...] | None = None) -> People:
    hard = np.array(difficult or [False] * len(boxes), np.bool_)
    return People(np.array(boxes, np.float64).reshape(-1, 4), hard)


def found(*boxes: tuple[list[float], float]) -> np.ndarray:
    return np.array([[*box, score] for box, score in boxes], np.float64).reshape(-1, 5)


def ap50(truths, detections) -> float | None:
    return average_precision(truths, detections).ap50


def test_all_found() -> None:
    result = average_precision([people(ONE, OTHER), people(ONE)], [found((OTHER, 0.3), (ONE, 0.9)), found((ONE, 0.5))])
    assert (result.ap50, result.ap, result.images, result.people) == (pytest.approx(1), pytest.approx(1), 2, 3)


def test_all_wrong_or_nothing() -> None:
    for wrong in (found((NOBODY_THERE, 0.9)), found()):
        result = average_precision([people(ONE)], [wrong])
        assert (result.ap50, result.ap, result.people) == (0, 0, 1)


def test_a_person_of_another_image_is_not_found() -> None:
    assert ap50([people(ONE), people(OTHER)], [found((OTHER, 0.9)), found((ONE, 0.9))]) == 0


def test_half_the_people_found() -> None:
    """Precision is 1 up to recall 0.5, that is at 51 of 101 recall values."""
    truths = [people(ONE, OTHER)]
    assert ap50(truths, [found((ONE, 0.9))]) == pytest.approx(51 / 101)
    assert ap50(truths, [found((ONE, 0.9), (NOBODY_THERE, 0.1))]) == pytest.approx(51 / 101)
    # A wrong one with a higher score: precision is 1/2 there.
    assert ap50(truths, [found((ONE, 0.1), (NOBODY_THERE, 0.9))]) == pytest.approx(51 / 101 / 2)


def test_a_second_box_for_the_same_person_is_wrong() -> None:
    """Precision is 1, 1/2, 2/3: 1 at 51 recall values and 2/3 at the other 50."""
    boxes = found((ONE, 0.9), (ONE, 0.8), (OTHER, 0.7))
    assert ap50([people(ONE, OTHER)], [boxes]) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_rough_box_counts_at_the_thresholds_below_its_overlap() -> None:
    rough = [10.0, 10.0, 30.0, 10 + 50 * 0.62]  # intersection over union 0.62: right at .50, .55 and .60
    result = average_precision([people(ONE)], [found((rough, 0.9))])
    assert result.ap50 == pytest.approx(1)
    assert result.ap == pytest.approx(0.3)


def test_scores_are_ranked_over_all_images() -> None:
    truths = [people(ONE), people()]
    assert ap50(truths, [found((ONE, 0.5)), found((ONE, 0.9))]) == pytest.approx(1 / 2)
    assert ap50(truths, [found((ONE, 0.9)), found((ONE, 0.5))]) == pytest.approx(1)


def test_difficult_people_are_neither_missed_nor_wrong_to_find() -> None:
    truth = people(ONE, OTHER, difficult=(False, True))
    for boxes in (found((ONE, 0.5)), found((ONE, 0.5), (OTHER, 0.9))):
        result = average_precision([truth], [boxes])
        assert (result.ap50, result.ap, result.people) == (pytest.approx(1), pytest.approx(1), 1)


def test_nobody_in_any_image() -> None:
    for truth in (people(), people(ONE, difficult=(True,))):
        result = average_precision([truth, people()], [found((ONE, 0.9)), found()])
        assert (result.ap50, result.ap, result.images, result.people) == (None, None, 2, 0)


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\b2\b.*\b1\b"):
        average_precision([people(ONE), people()], [found()])


def test_nothing_is_printed(capfd) -> None:
    average_precision([people(ONE)], [found((ONE, 0.9))])
    assert capfd.readouterr() == ("", "")


def test_what_is_not_installed_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.cocoeval", None)
    with pytest.raises(UsageError, match=r"'upfusion\[detect\]'"):
        require_evaluator()
    with pytest.raises(UsageError, match="pycocotools"):
        average_precision([people(ONE)], [found()])
