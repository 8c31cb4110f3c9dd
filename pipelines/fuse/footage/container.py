"""Recordings as files: what a container says of its film, and what can be wrong with it.

FFmpeg (through PyAV) opens anything, playlists that name other files and hosts included. Here it gets one open file,
may open no other, and reads four kinds of container and four codecs.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from pipelines.storage import objects as storage

CODECS = ("h264", "hevc", "mjpeg", "ffv1")
READ = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts",
    "protocol_whitelist": "none",
    # What is opened is known to be there; these bound what is read to find out what is in it.
    "probesize": "5000000",
    "analyzeduration": "5000000",
}
# Bytes asked of a store at once: an hour of film is read in pieces, its index in few.
BLOCK, BUFFER = 1 << 21, 1 << 18
TICK_ROUNDING = 1e-3  # of a tick, by which seconds as floats may fall short of one
# By timestamps a variable rate looks like the finest grid they all lie on.
GRID_OVER_AVERAGE = 2


class RecordingError(ValueError):
    """A source of a recording that cannot be used; `code` is one of ERROR_CODES."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class Film:
    """What is known of the pictures of a recording before any is decoded."""

    zero: int
    """The first frame's time, in `time_base`: 0 seconds of this recording."""
    time_base: Fraction
    rate: float
    """Frames a second, where none is dropped."""
    seconds: float | None
    width: int
    height: int

    @property
    def interval(self) -> float:
        """Seconds from frame to frame."""
        return 1 / self.rate

    def seconds_at(self, pts: int) -> float:
        """Return the seconds from the first frame to a time in `time_base`."""
        return float((pts - self.zero) * self.time_base)

    def pts_at(self, seconds: float) -> int:
        """Return the time in `time_base` so many seconds after the first frame, rounded down."""
        return self.zero + math.floor(seconds / float(self.time_base) + TICK_ROUNDING)


@contextmanager
def open_film(uri: str, max_pixels: int) -> Iterator[tuple[InputContainer, VideoStream, Film]]:
    """Open the first film of a recording.

    Raises OSError as storage does, and RecordingError (`empty_file`, `not_a_recording`, `truncated_recording`,
    `unsupported_recording`, `too_large`).
    """
    head = storage.read_head(uri, 16)
    if not head:
        raise RecordingError("empty_file", "the file is empty (0 bytes)")
    with ExitStack() as stack:
        file = stack.enter_context(storage.open_to_read(uri, BLOCK))
        try:
            container = stack.enter_context(av.open(file, "r", options=dict(READ), buffer_size=BUFFER))
        except av.FFmpegError as error:
            raise _unreadable(head, error) from error
        if not container.streams.video:
            raise RecordingError("not_a_recording", "it holds no film, only sound or data")
        stream = container.streams.video[0]
        yield container, stream, _film(container, stream, max_pixels)


def _film(container: InputContainer, stream: VideoStream, max_pixels: int) -> Film:
    # A stream whose codec FFmpeg does not know has no context at all.
    context = stream.codec_context
    name = getattr(context, "name", None) or "an unknown codec"
    if name not in CODECS:
        raise RecordingError(
            "unsupported_recording",
            f"its film is {name}; expected {', '.join(CODECS)}. Convert it, as with: ffmpeg -i FILE -c:v libx264 OUT",
        )
    width, height = stream.width, stream.height
    if not width or not height or not stream.time_base:
        raise RecordingError("truncated_recording", "it does not say how large its frames are")
    if width * height > max_pixels:
        raise RecordingError("too_large", f"frames of {width}x{height}, more than {max_pixels} pixels (--max-pixels)")
    context.thread_count = 1
    # A damaged frame is an error, not a guess at what it showed.
    context.options = {"err_detect": "crccheck+bitstream+buffer+explode", "max_pixels": str(max_pixels)}
    seconds = float(stream.duration * stream.time_base) if stream.duration else None
    if seconds is None and container.duration:
        seconds = container.duration / av.time_base
    zero = stream.start_time or 0
    return Film(zero, Fraction(stream.time_base), _rate(stream), seconds, width, height)


def _rate(stream: VideoStream) -> float:
    average, grid = stream.average_rate, stream.base_rate
    if not average or (grid and grid <= GRID_OVER_AVERAGE * average):
        average = grid or average
    return float(average or 25)


def _unreadable(head: bytes, error: Exception) -> RecordingError:
    known = head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free") or head[:4] in (b"\x1aE\xdf\xa3", b"RIFF")
    if known or head[:1] == b"\x47":
        return RecordingError("truncated_recording", f"the recording is damaged or cut short ({error.args[-1]})")
    return RecordingError(
        "not_a_recording", f"it is no mp4, mov, mkv, avi or ts that can be read: it begins with {head!r}"
    )
