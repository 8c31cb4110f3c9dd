"""Numbers with their nouns."""

import pytest

from upfusion.counted import counted


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0 pairs"), (1, "1 pair"), (2, "2 pairs"), (12_345, "12,345 pairs")]
)
def test_one_alone_has_no_s(number, expected):
    assert counted(number, "pair") == expected
