"""Video files: what a container states about its video stream, and what can be wrong with it.

FFmpeg (through PyAV) opens anything, including playlists that name other files and hosts. Here it gets one open file,
may open no other, and reads four container formats and four codecs.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from pipelines.errors.failures import check_code
from pipelines.storage import objects as storage

CODECS = ("h264", "hevc", "mjpeg", "ffv1")
READ = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts",
    "protocol_whitelist": "none",
    # Limits for probing a file.
    "probesize": "5000000",
    "analyzeduration": "5000000",
}
# Read-ahead in bytes: an hour of video is read in pieces, its index in few.
BLOCK, BUFFER = 1 << 21, 1 << 18
TICK_ROUNDING = 1e-3  # of a tick: rounding error of seconds as floats
# From its timestamps alone a variable frame rate looks like the finest grid that contains them all.
GRID_OVER_AVERAGE = 2


class RecordingError(ValueError):
    """A source recording that cannot be used; `code` is one of ERROR_CODES."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        check_code(code)
        self.code = code


@dataclass(frozen=True)
class VideoInfo:
    """What is known about a video stream before decoding."""

    zero: int
    """Timestamp of the first frame, in `time_base`: 0 seconds of this recording."""
    time_base: Fraction
    rate: float
    """Frames/s without drops."""
    seconds: float | None
    width: int
    height: int

    @property
    def interval(self) -> float:
        """Seconds between frames."""
        return 1 / self.rate

    def seconds_at(self, pts: int) -> float:
        """Return the seconds from the first frame to a time in `time_base`."""
        return float((pts - self.zero) * self.time_base)

    def pts_at(self, seconds: float) -> int:
        """Return the timestamp, in `time_base`, at a number of seconds after the first frame, rounded down."""
        return self.zero + math.floor(seconds / float(self.time_base) + TICK_ROUNDING)


@contextmanager
def open_video(uri: str, max_pixels: int) -> Iterator[tuple[InputContainer, VideoStream, VideoInfo]]:
    """Open the first video stream of a recording.

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
            raise RecordingError("not_a_recording", "it has no video stream, only audio or data")
        stream = container.streams.video[0]
        yield container, stream, _video_info(container, stream, max_pixels)


def _video_info(container: InputContainer, stream: VideoStream, max_pixels: int) -> VideoInfo:
    # A stream with a codec unknown to FFmpeg has no context.
    context = stream.codec_context
    name = getattr(context, "name", None) or "an unknown codec"
    if name not in CODECS:
        raise RecordingError(
            "unsupported_recording",
            f"its video codec is {name}; expected {', '.join(CODECS)}. Convert it, as with: "
            "ffmpeg -i FILE -c:v libx264 OUT",
        )
    width, height = stream.width, stream.height
    if not width or not height or not stream.time_base:
        raise RecordingError("truncated_recording", "it does not state its frame size")
    if width * height > max_pixels:
        raise RecordingError("too_large", f"frames of {width}x{height}, more than {max_pixels} pixels (--max-pixels)")
    context.thread_count = 1
    # Damaged frames are errors; FFmpeg's error concealment is off.
    context.options = {"err_detect": "crccheck+bitstream+buffer+explode", "max_pixels": str(max_pixels)}
    seconds = float(stream.duration * stream.time_base) if stream.duration else None
    if seconds is None and container.duration:
        seconds = container.duration / av.time_base
    zero = stream.start_time or 0
    return VideoInfo(zero, Fraction(stream.time_base), _rate(stream), seconds, width, height)


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
        "not_a_recording", f"it is not a readable mp4, mov, mkv, avi or ts file: it starts with {head!r}"
    )
