import pytest

from pipelines.fuse.report.histogram import _ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (29.0, 92.0, [40, 60, 80]),
        (-0.1, 0.1, [-0.1, -0.05, 0, 0.05, 0.1]),
    ],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert _ticks(low, high) == pytest.approx(expected)
