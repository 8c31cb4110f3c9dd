"""Which frames belong together, and offsets found from motion."""

from fractions import Fraction

import numpy as np
import pytest

from pipelines.fuse.footage.container import VideoInfo
from pipelines.fuse.footage.frames import Frame
from pipelines.fuse.footage.sync import (
    LEAST_CONFIDENCE,
    Paired,
    choose_frames,
    estimate_offset,
    pair_by_time,
    tolerance,
)


def video(rate: float, seconds: float | None = 60.0) -> VideoInfo:
    return VideoInfo(0, Fraction(1, 1000), rate, seconds, 64, 48)


def frames(*milliseconds: int) -> list[Frame]:
    return [Frame(at, at / 1000, lambda: np.zeros((2, 2), np.uint8)) for at in milliseconds]


def at_rate(rate: float, seconds: float) -> list[Frame]:
    return frames(*(round(1000 * n / rate) for n in range(round(rate * seconds))))


def pair(a: list[Frame], b: list[Frame], rates=(25.0, 25.0), offset: float = 0.0) -> tuple[list, Paired]:
    counts = Paired()
    apart = tolerance(video(rates[0]), video(rates[1]))
    return [(x.pts, y.pts) for x, y in pair_by_time(a, b, offset, apart, rates, counts)], counts


def test_frames_of_one_rate_are_paired_one_to_one():
    pairs, counts = pair(at_rate(25, 2), at_rate(25, 2))
    assert pairs == [(40 * n, 40 * n) for n in range(50)]
    assert counts == Paired()


@pytest.mark.parametrize(("rates", "reused"), [((25, 30), 0), ((30, 25), 10)])
def test_of_two_rates_every_frame_of_a_gets_the_nearest_of_b(rates, reused):
    pairs, counts = pair(at_rate(rates[0], 2), at_rate(rates[1], 2), rates)
    assert len(pairs) == 2 * rates[0]
    assert all(abs(a - b) <= 21 for a, b in pairs)
    assert (counts.unpaired, counts.a_dropped, counts.b_dropped) == (0, 0, 0)
    assert counts.b_reused == reused


def test_an_offset_says_how_much_later_b_began():
    # B's clock began 200 ms after A's, so B's first frame shows what A showed at 200 ms.
    pairs, counts = pair(at_rate(25, 1), at_rate(25, 1), offset=0.2)
    assert pairs == [(40 * n, 40 * n - 200) for n in range(5, 25)]
    assert counts.unpaired == 5
    pairs, counts = pair(at_rate(25, 1), at_rate(25, 1), offset=-0.2)
    assert pairs == [(40 * n, 40 * n + 200) for n in range(20)]
    assert counts.unpaired == 5


def test_dropped_frames_are_counted_and_what_has_no_partner_is_left_out():
    a, b = at_rate(25, 1), at_rate(25, 1)
    del a[3:5], b[10:13]
    pairs, counts = pair(a, b)
    # Those next to the gap are too far from its ends (half a frame) to borrow a partner.
    assert [x for x, _ in pairs] == [40 * n for n in range(25) if n not in (3, 4, 10, 11, 12)]
    assert counts == Paired(unpaired=3, a_dropped=2, b_dropped=3, b_reused=0)


def test_a_variable_rate_is_paired_by_time():
    pairs, _ = pair(frames(0, 15, 40, 95, 135, 170), frames(0, 40, 80, 120, 160))
    assert pairs == [(0, 0), (15, 0), (40, 40), (95, 80), (135, 120), (170, 160)]


def test_streams_of_different_length_end_with_the_shorter():
    assert len(pair(at_rate(25, 2), at_rate(25, 1))[0]) == 25
    assert len(pair(at_rate(25, 1), at_rate(25, 2))[0]) == 25
    assert pair(at_rate(25, 1), [])[1].unpaired == 25


@pytest.mark.parametrize("border", [0, 1, 7, 12, 25])
def test_chosen_frames_do_not_depend_on_where_segments_begin(border):
    whole = at_rate(25, 4)
    for every, fps in ((3, None), (1, 5.0), (1, 10.0), (1, 100.0)):
        chosen = [f.pts for f in choose_frames(whole, video(25), every, fps)]
        parts = [f.pts for part in (whole[:border], whole[border:]) for f in choose_frames(part, video(25), every, fps)]
        assert parts == chosen
    assert [f.pts for f in choose_frames(whole, video(25), 3, None)] == [120 * n for n in range(34)]
    assert len(list(choose_frames(whole, video(25), 1, 10.0))) == 40
    assert len(list(choose_frames(whole, video(25), 1, 100.0))) == 100


def motion(start: float, seconds: float, rate: float, seed: int = 0, noise: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Bursts of motion in a world clock, seen by a recording that began at `start`."""
    rng = np.random.default_rng(seed)
    world = np.cumsum(rng.normal(size=4000)) * 0.3 + 5 * rng.random(4000)
    times = np.arange(0, seconds, 1 / rate)
    energy = np.interp(times + start, np.arange(4000) / 20, np.abs(world))
    return times, energy + np.abs(np.random.default_rng(noise).normal(0, 0.3, len(times)))


@pytest.mark.parametrize("offset", [0.0, 1.28, -3.5, 12.04])
@pytest.mark.parametrize("rates", [(25, 25), (25, 30)])
def test_a_known_offset_is_found_to_less_than_half_a_frame(offset, rates):
    start = 40.0
    a = motion(start, 50, rates[0], noise=1)
    b = motion(start + offset, 50, rates[1], noise=2)
    found = estimate_offset(a, b, 1 / max(rates))
    assert found is not None
    assert found.seconds == pytest.approx(offset, abs=0.5 / max(rates))
    assert found.confidence > LEAST_CONFIDENCE


def test_recordings_of_different_things_are_not_sure():
    for seed in range(1, 6):
        found = estimate_offset(motion(40, 50, 25), motion(40, 50, 25, seed=seed), 1 / 25)
        assert found is None or found.confidence < LEAST_CONFIDENCE


def test_where_nothing_moves_there_is_no_offset():
    times = np.arange(0, 20, 0.04)
    assert estimate_offset((times, np.zeros(len(times))), motion(40, 20, 25), 0.04) is None
    assert estimate_offset((times[:3], np.ones(3)), motion(40, 20, 25), 0.04) is None
