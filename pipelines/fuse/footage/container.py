"""Video files: what a container states about its video stream, and what can be wrong with it.

FFmpeg (through PyAV) opens anything, including playlists that name other files and hosts. Here it gets one open file,
may open no other, and reads four container formats and four codecs.
"""

import math
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise

import av
from av.container import InputContainer
from av.packet import Packet
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
TICK_ROUNDING = 1e-3  # of a tick, by which seconds as floats may fall short of one
# Where the finest grid of timestamps and the average rate differ by more, intervals between frames are looked at.
RATES_DIFFER = 0.01
FRAMES_TIMED = 240
# Audio that continues for so long after the last frame means that no further frame follows.
SECONDS_AFTER_VIDEO = 30.0
CUT_SHORT = 0.5  # seconds that a file lacks at its end, from which on it is cut short


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
    """Of a frame as it is shown, after `rotation`."""
    height: int
    pixel_aspect: Fraction = Fraction(1)
    """Width of a pixel by its height, as the frame is shown."""
    rotation: int = 0
    """Degrees, counter-clockwise, by which stored frames are turned to be shown: 0, 90, 180 or 270."""

    @property
    def stored_size(self) -> tuple[int, int]:
        """(width, height) of a frame as it is stored."""
        return (self.height, self.width) if self.rotation % 180 else (self.width, self.height)

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
    zero, rate = stream.start_time or 0, _rate(container, stream)
    seconds = _seconds(container, stream, zero, rate)
    aspect, rotation = stream.sample_aspect_ratio or context.sample_aspect_ratio or Fraction(1), 0
    if container.format.name != "avi":
        rotation = _rotation(container, stream)
    if rotation % 180:
        width, height, aspect = height, width, 1 / aspect
    return VideoInfo(zero, Fraction(stream.time_base), rate, seconds, width, height, Fraction(aspect), rotation)


def _rate(container: InputContainer, stream: VideoStream) -> float:
    """Return the rate of frames where none is dropped or late.

    By timestamps a variable rate looks like the finest grid they all lie on: 60 for the 30 of a phone that shows some
    frames half an interval late. The middle one of the first intervals tells how many steps of that grid are usual.
    """
    average, grid = stream.average_rate, stream.base_rate
    if not average or not grid or abs(grid - average) <= RATES_DIFFER * average:
        return float(grid or average or 25)
    packets = _packets(container, stream, stream.start_time or 0)
    times = sorted(packet.pts for packet in packets if packet.pts is not None)
    usual = statistics.median(after - before for before, after in pairwise(times)) if len(times) > 2 else 0
    steps = round(float(grid * usual * Fraction(stream.time_base or 0)))
    return float(grid / steps) if steps > 0 else float(average)


def _seconds(container: InputContainer, stream: VideoStream, zero: int, rate: float) -> float | None:
    """Return the length of a video stream from its first frame on, where it is known.

    mkv says only how long the longest of its streams is, audio included, and counts from the time 0 of its clock.
    """
    time_base = Fraction(stream.time_base or 0)
    if stream.duration:
        return float(stream.duration * time_base)
    if not container.duration:
        return None
    whole = container.duration / av.time_base
    last, reached = None, 0.0
    with suppress(av.FFmpegError):
        container.seek(zero + int(whole / time_base), stream=stream)
        for packet in container.demux():
            if packet.pts is None or packet.time_base is None:
                continue
            reached = max(reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream is stream:
                last = packet.pts if last is None else max(last, packet.pts)
            elif last is not None and reached > float(last * time_base) + SECONDS_AFTER_VIDEO:
                reached = whole
                break
    if last is None or reached < whole - CUT_SHORT:  # the file itself ends early: what is missing has to be reported
        return max(0.0, whole - float(zero * time_base))
    return float((last - zero) * time_base) + 1 / rate


def _rotation(container: InputContainer, stream: VideoStream) -> int:
    """Return by how much the first frame is turned to be shown, as cameras held upright say."""
    with suppress(av.FFmpegError):
        for packet in _packets(container, stream, stream.start_time or 0):
            for frame in packet.decode():
                return round(frame.rotation / 90) * 90 % 360
    return 0


def _packets(container: InputContainer, stream: VideoStream, start: int) -> Iterator[Packet]:
    """Yield some packets from the beginning of a video stream; seek before reading on."""
    with suppress(av.FFmpegError):
        container.seek(start, stream=stream)
        yield from islice(container.demux(stream), FRAMES_TIMED)


def _unreadable(head: bytes, error: Exception) -> RecordingError:
    known = head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free") or head[:4] in (b"\x1aE\xdf\xa3", b"RIFF")
    if known or head[:1] == b"\x47":
        return RecordingError("truncated_recording", f"the recording is damaged or cut short ({error.args[-1]})")
    return RecordingError(
        "not_a_recording", f"it is not a readable mp4, mov, mkv, avi or ts file: it starts with {head!r}"
    )
