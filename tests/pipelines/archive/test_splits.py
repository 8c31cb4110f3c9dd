import pytest

from pipelines.archive.splits import split_of, without_split


@pytest.mark.parametrize(
    ("pair_id", "split", "rest"),
    [
        ("1", None, "1"),
        ("test/1", "test", "1"),
        ("train/1", "train", "1"),
        ("day/val/1", "val", "day/1"),
        ("test/day/1", "test", "day/1"),
        ("train/set/test/1", "test", "set/1"),
        ("test", None, "test"),
        ("day/test", None, "day/test"),
        ("testing/1", None, "testing/1"),
        ("Test/1", None, "Test/1"),
    ],
)
def test_the_innermost_folder_that_is_a_split_counts_and_a_name_never_does(pair_id, split, rest):
    assert split_of(pair_id) == split
    assert without_split(pair_id) == rest
