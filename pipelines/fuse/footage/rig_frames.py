"""Frames of recordings, spread over their time, that a rig is estimated from."""

from collections.abc import Iterable
from contextlib import ExitStack, suppress

import av
import pyarrow as pa

from pipelines.archive.formats import is_recording
from pipelines.errors.failures import Row
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.footage.container import RecordingError
from pipelines.fuse.footage.frames import Source, open_source
from pipelines.fuse.footage.segments import cut_recording
from pipelines.fuse.footage.sync import tolerance
from pipelines.rigs.estimate import sample
from pipelines.rigs.load import Viewed
from upfusion.images import ImageError
from upfusion.registration.camera_names import camera_of
from upfusion.registration.views import PairOfViews, view

_DEFAULT_SECONDS = 60.0
"""Of a recording that does not say how long it is, so much is looked at."""


def recordings_of(pairs: pa.Table) -> list[Row]:
    """Return the pairs of an archive that are recordings."""
    return [row for row in pairs.to_pylist() if is_recording(row["a_uri"]) or is_recording(row["b_uri"])]


def sample_pairs(pairs: pa.Table, config: FuseConfig, count: int) -> dict[str, list[Viewed]]:
    """Load pairs of images and frames of recordings, spread over an archive, `count` of either per camera at most."""
    sampled = sample(pairs, count, config.per, config.max_pixels)
    for camera, frames in sample_recordings(pairs, config, count).items():
        sampled[camera] = [*sampled.get(camera, []), *frames]
    return sampled


def sample_recordings(pairs: pa.Table, config: FuseConfig, count: int) -> dict[str, list[Viewed]]:
    """Load frames of recordings at moments spread over them, `count` per camera at most, B's at A's time.

    A recording that cannot be read, or whose offset is not found, is left out.
    """
    by_camera: dict[str, list[Row]] = {}
    for row in recordings_of(pairs):
        by_camera.setdefault(camera_of(row["pair_id"], config.per), []).append(row)
    sampled = {}
    for camera, rows in sorted(by_camera.items()):
        chosen = rows[:: max(1, len(rows) // count)][:count]
        each = max(1, count // len(chosen))
        sampled[camera] = [one for row in chosen for one in _frames_of(row, config, each)]
    return sampled


def _frames_of(row: Row, config: FuseConfig, count: int) -> Iterable[Viewed]:
    cut = cut_recording(row, config)
    if cut.failure is not None:
        return []
    offset, found = float(cut.rows[0]["offset_s"]), []
    with suppress(RecordingError, OSError, av.FFmpegError, ImageError), ExitStack() as stack:
        a, b = (
            stack.enter_context(open_source(row[side], config.max_pixels, config.frame_rate))
            for side in ("a_uri", "b_uri")
        )
        start = max(0.0, offset)
        end = min(a.video.seconds or _DEFAULT_SECONDS, (b.video.seconds or _DEFAULT_SECONDS) + offset)
        for number in range(count):
            at = start + (number + 0.5) * (end - start) / count
            views = _pair_at(a, b, at, offset)
            if views is not None:
                found.append(Viewed(f"{row['pair_id']} at {at:.1f} s", views))
    return found


def _pair_at(a: Source, b: Source, at: float, offset: float) -> PairOfViews | None:
    frame = next(a.frames(at, float("inf")), None)
    if frame is None:
        return None
    slack, wanted = tolerance(a.video, b.video), frame.seconds - offset
    near = list(b.frames(max(0.0, wanted - slack), wanted + slack))
    if not near:
        return None
    partner = min(near, key=lambda other: abs(other.seconds - wanted))
    return view(frame.read()), view(partner.read())
