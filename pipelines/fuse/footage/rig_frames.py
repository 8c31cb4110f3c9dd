"""What the rig of a camera is estimated from: pairs of images, and frames spread over the time of recordings."""

from collections.abc import Iterable
from contextlib import ExitStack, suppress

import av
import pyarrow as pa

from pipelines.archive.formats import is_recording
from pipelines.errors.failures import Row
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.footage.container import RecordingError
from pipelines.fuse.footage.frames import Source, open_source
from pipelines.fuse.footage.segments import find_offset
from pipelines.fuse.footage.sync import tolerance
from pipelines.rigs.load import Viewed, load_views, spread
from upfusion.images import ImageError
from upfusion.registration.views import PairOfViews, view

RECORDINGS = 16
"""At most so many recordings of a camera are opened."""
RECORDINGS_WITH_OFFSETS = 4
"""As many where offsets are estimated: each decodes up to two minutes of both sides."""

_DEFAULT_SECONDS = 60.0
"""Of a recording that does not say how long it is, so much is looked at."""


def sample_pairs(pairs: pa.Table, config: FuseConfig, count: int) -> list[Viewed]:
    """Load pairs of images and frames of recordings, spread over the pairs of one camera, `count` of either at most.

    What cannot be read, or has no offset, is left out.
    """
    return [*load_views(spread(pairs, count), config.max_pixels), *_sample_recordings(pairs, config, count)]


def _sample_recordings(pairs: pa.Table, config: FuseConfig, count: int) -> list[Viewed]:
    rows = [row for row in pairs.to_pylist() if is_recording(row["a_uri"]) or is_recording(row["b_uri"])]
    most = min(count, RECORDINGS if config.offset_seconds is not None else RECORDINGS_WITH_OFFSETS)
    chosen = rows[:: -(-len(rows) // most)] if rows else []
    return [one for row in chosen for one in _frames_of(row, config, -(-count // len(chosen)))][:count]


def _frames_of(row: Row, config: FuseConfig, count: int) -> Iterable[Viewed]:
    found = []
    with suppress(RecordingError, OSError, av.FFmpegError, ImageError), ExitStack() as stack:
        a, b = (
            stack.enter_context(open_source(row[side], config.max_pixels, config.frame_rate))
            for side in ("a_uri", "b_uri")
        )
        offset = find_offset(a, b, config).seconds
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
