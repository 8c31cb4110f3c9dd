import numpy as np
import pytest

from tests.camera_files import counts
from upfusion.cameras.ranges import (
    RangeChoice,
    ValueRange,
    apply_range,
    has_own_scale,
    kind_of,
    note_on_scale,
    part_of_scale,
    range_of,
    sample_of,
)
from upfusion.images import to_8_bits


def test_counts_of_an_ordinary_scene_use_the_grey_levels_there_are():
    raw = counts(width=640, height=480)
    assert len(np.unique(to_8_bits(raw))) < 8
    found = range_of([sample_of(raw)])
    mapped = to_8_bits(apply_range(raw, found))
    assert len(np.unique(mapped)) >= 200
    assert part_of_scale(found, kind_of(raw)) < 0.02


def test_one_range_keeps_the_brightness_of_an_archive_comparable():
    cold, warm = counts(0, 22_000, 22_400), counts(1, 22_800, 23_200)
    found = range_of([sample_of(cold), sample_of(warm)])
    assert apply_range(cold, found).max() < apply_range(warm, found).min()


def test_every_image_counts_the_same_however_large_it_is():
    small, large = np.full((8, 8), 100, np.uint16), np.full((800, 800), 200, np.uint16)
    assert range_of([sample_of(small), sample_of(large)], (40, 60)) == ValueRange(100, 200)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32, np.uint32, np.uint16])
def test_values_of_every_type_are_mapped(dtype):
    values = np.array([[10, 20], [30, 40]], dtype)
    np.testing.assert_array_equal(apply_range(values, ValueRange(20, 40)), [[0, 0], [32768, 65535]])


def test_eight_bits_stay_eight():
    mapped = apply_range(np.array([[0, 110, 200]], np.uint8), ValueRange(50, 150))
    assert mapped.dtype == np.uint8
    np.testing.assert_array_equal(mapped, [[0, 153, 255]])


def test_black_hot_becomes_white_hot():
    np.testing.assert_array_equal(apply_range(np.array([[0.0, 1.0]]), ValueRange(0, 1), black_hot=True), [[65535, 0]])


def test_what_is_no_number_is_cold():
    values = np.array([[np.nan, -np.inf, np.inf, 30.0]])
    np.testing.assert_array_equal(apply_range(values, ValueRange(20, 30)), [[0, 0, 65535, 65535]])
    np.testing.assert_array_equal(sample_of(values), [30.0])


def test_equal_values_have_a_range():
    assert range_of([np.full(9, 7.0)]) == ValueRange(6.5, 7.5)
    with pytest.raises(ValueError, match="finite"):
        range_of([np.array([])])


@pytest.mark.parametrize(
    ("text", "kind", "low", "high", "unit"),
    [
        ("full", "full", 0, 0, None),
        ("auto", "auto", 0, 0, None),
        ("per-image", "per-image", 0, 0, None),
        ("22000:23200", "fixed", 22000, 23200, None),
        ("20C:40C", "fixed", 20, 40, "C"),
        ("-5.5C:1e2C", "fixed", -5.5, 100, "C"),
        ("293K:313K", "fixed", 293, 313, "K"),
        ("percent:0.5:99.5", "percent", 0.5, 99.5, None),
    ],
)
def test_choices_are_read(text, kind, low, high, unit):
    assert RangeChoice.parse(text) == RangeChoice(kind, low, high, unit)


@pytest.mark.parametrize(
    "text", ["", "3", "5:2", "20C:40K", "20C:40", "percent:9:8", "percent:-1:8", "1:1e999", "Auto"]
)
def test_what_is_no_range_is_refused(text):
    with pytest.raises(ValueError, match=r"expected|rise|unit"):
        RangeChoice.parse(text)


def test_a_range_is_written_and_read():
    found = range_of([sample_of(counts())])
    assert ValueRange.parse(str(found)) == found
    with pytest.raises(ValueError, match="LOW:HIGH"):
        ValueRange.parse("auto")


def test_a_small_part_of_the_scale_is_noted():
    assert "1.8 %" in note_on_scale(counts(), "B")
    assert "--range-b auto" in note_on_scale(counts(), "B")
    assert note_on_scale(counts(low=1000, high=60_000), "B") is None
    assert note_on_scale(np.zeros((4, 4), np.uint8), "B") is None


def test_kinds_with_a_scale_of_their_own():
    assert has_own_scale(np.zeros(1, np.uint8))
    assert has_own_scale(np.zeros(1, np.uint16))
    assert not has_own_scale(np.zeros(1, np.int16))
    assert not has_own_scale(np.zeros(1, np.float32))
    assert kind_of(np.zeros(1, np.float32)) == kind_of(np.zeros(1, np.float64)) == "float"
