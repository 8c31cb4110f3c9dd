"""Pairing frames of A and B by presentation time, and estimating the clock offset of B."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.fuse.footage.container import VideoInfo
from pipelines.fuse.footage.frames import Frame, Source

Signal = NDArray[np.float64]

# Timestamps of mkv are whole milliseconds.
ROUNDING = 0.001
# Intervals between neighbours from which on a frame is missing; a frame may be half an interval late.
A_GAP = 1.75

SECONDS_COMPARED = 120.0
LARGEST_OFFSET = 30.0
SHORTEST_OVERLAP = 5.0  # shortest overlap that counts, in seconds
# Correlation falls off slowly around the best offset; rivals must be farther away than this.
NEIGHBOURHOOD = 0.75
LEAST_CONFIDENCE = 0.15
# What chance makes of thousands of offsets stays below five (_is_agreement).
LEAST_SIGMAS = 6.0
PARTS, LEAST_IN_A_PART = 4, 0.1
THUMBNAIL = (64, 48)


@dataclass
class Paired:
    """Counts from pairing the frames of a segment."""

    unpaired: int = 0
    """Frames of A without a frame of B within the tolerance."""
    a_dropped: int = 0
    """Frames missing in A at its frame rate."""
    b_dropped: int = 0
    b_reused: int = 0
    """Frames of A with the same partner as the previous frame."""


@dataclass(frozen=True)
class Offset:
    """By how much B's clock started later, and the confidence of that estimate."""

    seconds: float
    confidence: float
    """0 to 1: by how much the correlation at this offset exceeds that at any other."""


def tolerance(a: VideoInfo, b: VideoInfo) -> float:
    """Return the pairing tolerance in seconds: half a frame interval of the slower recording."""
    return max(a.interval, b.interval) / 2 + ROUNDING


def pair_by_time(
    a: Iterable[Frame], b: Iterable[Frame], offset: float, apart: float, rates: tuple[float, float], counts: Paired
) -> Iterator[tuple[Frame, Frame]]:
    """Pair every frame of A with the nearest frame of B at most `apart` seconds away; others are skipped and counted.

    Both are in order of time, at `rates` without drops; two frames of B are held in memory.
    """
    rate_a, rate_b = rates
    counted_b = _counting_gaps(b, rate_b, counts)
    before: Frame | None = None
    after = next(counted_b, None)
    last_a: Frame | None = None
    last_b: Frame | None = None
    for frame in a:
        if last_a is not None:
            counts.a_dropped += _missing(last_a, frame, rate_a)
        last_a = frame
        at = frame.seconds - offset
        while after is not None and after.seconds <= at:
            before, after = after, next(counted_b, None)
        near = [other for other in (before, after) if other is not None and abs(other.seconds - at) <= apart]
        if not near:
            counts.unpaired += 1
            continue
        partner = min(near, key=lambda other: abs(other.seconds - at))
        counts.b_reused += last_b is not None and partner.pts == last_b.pts
        last_b = partner
        yield frame, partner


def choose_frames(frames: Iterable[Frame], video: VideoInfo, every: int, fps: float | None) -> Iterator[Frame]:
    """Choose one frame of A for every n-th interval, or at most `fps` per second, on a grid over the whole recording.

    The choice does not depend on segment borders.
    """
    wanted = fps if fps is not None else video.rate / every
    if wanted >= video.rate:
        yield from frames
        return

    def cell(seconds: float) -> int:
        return int(np.floor((seconds + video.interval / 2) * wanted + 1e-6))

    last: int | None = None
    for frame in frames:
        if last is None:
            last = cell(frame.seconds - video.interval)
        here = cell(frame.seconds)
        if here != last:
            yield frame
        last = here


def motion_energy(source: Source, seconds: float = SECONDS_COMPARED) -> tuple[Signal, Signal]:
    """Return the motion of a recording over time: times, and mean change per second in grey levels of thumbnails."""
    times, energy = list[float](), list[float]()
    last: tuple[float, NDArray[np.float32]] | None = None
    for frame in source.frames(0.0, seconds):
        small = _thumbnail(frame)
        if last is not None and frame.seconds > last[0]:
            times.append((frame.seconds + last[0]) / 2)
            energy.append(float(np.abs(small - last[1]).mean()) / (frame.seconds - last[0]))
        last = (frame.seconds, small)
    return np.array(times), np.array(energy)


def estimate_offset(a: tuple[Signal, Signal], b: tuple[Signal, Signal], interval: float) -> Offset | None:
    """Find the offset at which the motion of B correlates best with that of A, to a quarter of `interval`.

    Returns None if there is too little motion, or too short an overlap, for an estimate.
    """
    step = interval / 4
    if min(len(a[0]), len(b[0])) < 10:
        return None
    grid_a, grid_b = (_on_grid(*signal, step) for signal in (a, b))
    start_a, start_b = a[0][0], b[0][0]
    most = int(LARGEST_OFFSET / step)
    least_overlap = int(min(SHORTEST_OVERLAP, 0.5 * step * min(len(grid_a), len(grid_b))) / step)
    lags = np.arange(-most, most + 1)
    values = np.array([_correlation(grid_a, grid_b, int(lag), least_overlap) for lag in lags])
    if not np.isfinite(values).any():
        return None
    best = int(np.nanargmax(values))
    far = np.abs(lags - lags[best]) * step > NEIGHBOURHOOD
    rival = np.nanmax(values[far], initial=0.0, where=np.isfinite(values[far]))
    confidence = float(np.clip(values[best] - max(0.0, rival), 0, 1))
    if not _is_agreement(grid_a, grid_b, int(lags[best]), max(1, round(interval / step))):
        return None
    return Offset(round(float(lags[best] * step + start_a - start_b), 4), confidence)


def _is_agreement(a: Signal, b: Signal, lag: int, frame: int) -> bool:
    """Tell whether two signals agree at a lag more than chance and single moments can make them.

    Chance: the best of thousands of lags of two independent signals reaches a correlation of about four over the root
    of how many independent values they have; few, where either repeats itself or changes slowly (Bartlett, 1935,
    doi:10.2307/2983819). Single moments: key frames of an encoder and steps of an exposure make one large change in an
    otherwise still recording, so the parts of the overlap have to agree each by itself.
    """
    x, y = _overlap(a, b, lag)
    x, y = x[::frame], y[::frame]  # between frames values are interpolated
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    if scale == 0:
        return False
    most = len(x) // 2
    memory = _autocorrelation(x, most) * _autocorrelation(y, most)
    independent = len(x) / max(1.0, 1 + 2 * float(np.sum((1 - np.arange(1, most) / len(x)) * memory[1:])))
    sure = np.arctanh(min(float(x @ y / scale), 0.999)) * np.sqrt(max(0.0, independent - 3))
    parts = [_pearson(*part) for part in zip(np.array_split(x, PARTS), np.array_split(y, PARTS), strict=True)]
    return bool(sure >= LEAST_SIGMAS and min(parts) >= LEAST_IN_A_PART)


def _autocorrelation(x: Signal, most: int) -> Signal:
    spectrum = np.abs(np.fft.rfft(x, 2 * len(x))) ** 2
    found: Signal = np.fft.irfft(spectrum)[:most]
    return found / found[0]


def _missing(before: Frame, after: Frame, rate: float) -> int:
    gap = (after.seconds - before.seconds) * rate
    return round(gap) - 1 if gap > A_GAP else 0


def _counting_gaps(frames: Iterable[Frame], rate: float, counts: Paired) -> Iterator[Frame]:
    last: Frame | None = None
    for frame in frames:
        if last is not None:
            counts.b_dropped += _missing(last, frame, rate)
        last = frame
        yield frame


def _thumbnail(frame: Frame) -> NDArray[np.float32]:
    pixels = frame.read()
    if pixels.ndim == 3:
        pixels = pixels[..., 1]  # green is most of luma
    top = np.iinfo(pixels.dtype).max
    small = cv2.resize(pixels.astype(np.float32) * (255 / top), THUMBNAIL, interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)


def _on_grid(times: Signal, energy: Signal, step: float) -> Signal:
    """Resample a signal, high-pass filtered (two seconds) and with compressed peaks."""
    grid = np.arange(times[0], times[-1], step)
    # A repeated frame has zero change, and the frame after it twice the change.
    values = np.interp(grid, times, np.log1p(energy))
    width = max(1, round(2.0 / step))
    if len(values) <= 2 * width:
        return values - values.mean()
    padded = np.pad(values, (width // 2, width - width // 2 - 1), mode="edge")
    return values - np.convolve(padded, np.full(width, 1 / width), mode="valid")


def _overlap(a: Signal, b: Signal, lag: int) -> tuple[Signal, Signal]:
    """Return what both have when B is moved `lag` steps later."""
    start, end = max(0, lag), max(max(0, lag), min(len(a), len(b) + lag))
    return a[start:end], b[start - lag : end - lag]


def _correlation(a: Signal, b: Signal, lag: int, least: int) -> float:
    """Pearson's correlation of A with B moved `lag` steps later, over what both have."""
    x, y = _overlap(a, b, lag)
    return _pearson(x, y, still=float("nan")) if len(x) >= max(least, 8) else float("nan")


def _pearson(x: Signal, y: Signal, still: float = 0.0) -> float:
    """Pearson's correlation; `still` where one of both does not change."""
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 0 else still
