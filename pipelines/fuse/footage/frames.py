"""Reading the frames of a recording or of a folder of numbered frames in order, from a given time on."""

import heapq
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipelines.archive.formats import is_frame_folder
from pipelines.fuse.footage.container import RecordingError, VideoInfo, open_video
from pipelines.storage import objects as storage
from upfusion.color import Pixels
from upfusion.file_names import is_image_name
from upfusion.images import ImageError, decode_image

FIRST_STEP_BACK = 2.0  # seconds to look for a key frame earlier, where the first one came after the moment asked for
CLOCK_BACK = 0.5  # seconds back from frame to frame from which on a clock begins anew; less is a repeated frame
LONGEST_REORDER = 16  # frames that H.264 and H.265 may hold back
FILES_AT_ONCE = 8
NUMBER = re.compile(r"(\d+)\D*$")


@dataclass(frozen=True)
class Frame:
    """One frame with its presentation time."""

    pts: int
    """In the time base of its recording."""
    seconds: float
    """Since the first frame of its recording."""
    read: Callable[[], Pixels]
    """Decodes to an array, 16 bits per channel if the video has more than 8."""


@dataclass
class Counts:
    """Counts of skipped frames."""

    repeated: int = 0
    """Frames with a non-increasing timestamp."""
    damaged: int = 0
    """Frames that could not be decoded, and those that depend on them."""
    cut_short: bool = False
    """The file ended with an error."""
    ended: bool = False
    """There was no frame after the requested ones."""


class Source:
    """A source of frames; every call of `frames` starts anew."""

    def __init__(self, video: VideoInfo) -> None:
        self.video = video
        self.counts = Counts()

    def frames(self, start: float, end: float) -> Iterator[Frame]:
        """Yield the frames shown from `start` to before `end`, in seconds since the first, in order."""
        raise NotImplementedError


@contextmanager
def open_source(uri: str, max_pixels: int, frame_rate: float | None = None) -> Iterator[Source]:
    """Open a recording or a folder of numbered frames; raises RecordingError and OSError."""
    if is_frame_folder(uri):
        yield FrameFolder(uri, max_pixels, frame_rate)
        return
    with open_video(uri, max_pixels) as (container, stream, video):
        yield Recording(container, stream, video)


class Recording(Source):
    """A video file."""

    def __init__(self, container: InputContainer, stream: VideoStream, video: VideoInfo) -> None:
        # AVI numbers frames in decoding order; with reordered frames the timestamps are shuffled,
        # and the first is late.
        self.shuffled = container.format.name == "avi" and bool(stream.codec_context.has_b_frames)
        if self.shuffled and (first := next(container.demux(stream), None)) is not None and first.pts is not None:
            video = replace(video, zero=first.pts)
        super().__init__(video)
        self.container, self.stream = container, stream

    def frames(self, start: float, end: float) -> Iterator[Frame]:
        # Timestamps of mkv are rounded to milliseconds, so a border may differ slightly from its frame.
        first, beyond = self.video.pts_at(start), self.video.pts_at(end) if end != float("inf") else None
        last: int | None = None
        for frame in self._from(first):
            pts = frame.pts
            assert pts is not None
            if beyond is not None and pts >= beyond:
                return
            if last is not None and pts <= last:
                self._check_clock(last, pts)
                self.counts.repeated += 1
                continue
            last = pts
            if pts >= first:
                yield Frame(pts, self.video.seconds_at(pts), _reader(frame, self.video.rotation))
        self.counts.ended = True

    def _check_clock(self, before: int, after: int) -> None:
        """Raise RecordingError where a clock begins anew, as where files of a camera are put one behind the other."""
        last, now = self.video.seconds_at(before), self.video.seconds_at(after)
        if last - now > CLOCK_BACK:
            raise RecordingError(
                "unsupported_recording",
                f"its timestamps restart after {last:.2f} s, at {now:.2f} s. Split it there, or re-encode it with "
                "times that continue: ffmpeg -i FILE -c:v libx264 OUT.mp4",
            )

    def _from(self, first: int) -> Iterator[VideoFrame]:
        """Decode from the key frame before a moment; from an earlier one, where frames after it are missing."""
        back = int(FIRST_STEP_BACK / self.video.time_base)
        at, counts = first, replace(self.counts)
        while True:
            # What could not be decoded after a place that was too late is no fault of the file.
            self.counts = replace(counts)
            at = max(at, self.video.zero)
            # A ts that is asked for its very first moment may give the second key frame.
            early = at - back if at == self.video.zero and self.container.format.name == "mpegts" else at
            with suppress(av.FFmpegError):  # without a place to go to, reading continues from the start
                self.container.seek(early, stream=self.stream, backward=True)
            decoded = self._decode(first)
            found = next(decoded, None)
            if at == self.video.zero or (found is not None and found.pts is not None and found.pts <= first):
                if found is not None:
                    yield found
                yield from decoded
                return
            at, back = first - back, 2 * back

    def _decode(self, first: int) -> Iterator[VideoFrame]:
        frames = self._decode_as_stored(first)
        return _in_order(frames) if self.shuffled else frames

    def _decode_as_stored(self, first: int) -> Iterator[VideoFrame]:
        whole = True  # false from a damaged frame to the next key frame
        complained = set[int]()
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:
                self.counts.cut_short = True
                return
            if packet is None:
                return
            in_span = packet.pts is None or packet.pts >= first
            whole = whole and not packet.is_corrupt
            try:
                frames = packet.decode()
            except av.FFmpegError:
                whole = False
                self.counts.damaged += in_span
                if in_span and packet.pts is not None:
                    complained.add(packet.pts)
                continue
            for frame in frames:
                # Frames come later than their packets; those shown before are not asked for, and may lack what they
                # build on, as frames after the key frame of an open group of pictures do.
                in_span = frame.pts is None or frame.pts >= first
                whole = (whole or bool(frame.key_frame)) and not frame.is_corrupt and not packet.is_corrupt
                if frame.pts is None or not whole:
                    self.counts.damaged += in_span
                elif (frame.width, frame.height) != self.video.stored_size:
                    sizes = f"from {'x'.join(map(str, self.video.stored_size))} to {frame.width}x{frame.height}"
                    at = self.video.seconds_at(frame.pts)
                    raise RecordingError("size_mismatch", f"its frames change size, {sizes} at {at:.2f} s")
                else:
                    # After the key frame of an open group FFmpeg complains of what the next frame says of frames
                    # before it, and decodes that frame all the same.
                    if frame.pts in complained:
                        complained.remove(frame.pts)
                        self.counts.damaged -= 1
                    yield frame


class FrameFolder(Source):
    """Image files of one folder, in order of the last number in their names, which is their frame number."""

    def __init__(self, uri: str, max_pixels: int, frame_rate: float | None) -> None:
        if frame_rate is None:
            raise RecordingError(
                "unsupported_recording", "a folder of frames has no frame rate: give one, such as --frame-rate 25"
            )
        self.files: dict[int, str] = {}
        for file in storage.list_files(uri):
            name = PurePosixPath(file)
            number = NUMBER.search(name.stem)
            if not is_image_name(name.name) or number is None:
                continue
            if not file.endswith(uri.rstrip("/").rsplit("/", 1)[-1] + "/" + name.name):
                continue  # in a folder below
            if int(number[1]) in self.files:
                raise RecordingError("not_a_recording", f"two of its frames have the number {int(number[1])}")
            self.files[int(number[1])] = file
        if not self.files:
            raise RecordingError("source_missing", "the folder does not exist, or has no numbered images")
        self.max_pixels = max_pixels
        first = decode_image(storage.read_bytes(self.files[min(self.files)]), max_pixels).pixels
        time_base = 1 / Fraction(frame_rate).limit_denominator(100_000)
        seconds = float((max(self.files) + 1) * time_base)
        # Number 0 is time 0 on both sides, so that frames with the same number are partners.
        super().__init__(VideoInfo(0, time_base, frame_rate, seconds, first.shape[1], first.shape[0]))

    def frames(self, start: float, end: float) -> Iterator[Frame]:
        beyond = end if end == float("inf") else self.video.pts_at(end)
        numbers = [n for n in sorted(self.files) if self.video.pts_at(start) <= n < beyond]
        for at in range(0, len(numbers), FILES_AT_ONCE):
            group = numbers[at : at + FILES_AT_ONCE]
            for number, data in zip(group, storage.read_many([self.files[n] for n in group]), strict=True):
                try:
                    if isinstance(data, Exception):
                        raise data  # the frame may be whole: what a store does not give is not damaged
                    pixels = decode_image(data, self.max_pixels).pixels
                except ImageError:
                    self.counts.damaged += 1
                else:
                    yield Frame(number, self.video.seconds_at(number), _giving(pixels))


def to_pixels(frame: VideoFrame) -> Pixels:
    """Convert a frame to an array `(H, W)` for one plane or `(H, W, 3)` RGB, of 8 bits, or 16 if it has more."""
    parts = frame.format.components
    deep, grey = any(part.bits > 8 for part in parts), len(parts) == 1
    target = {(False, False): "rgb24", (True, False): "rgb48le", (False, True): "gray", (True, True): "gray16le"}
    return frame.to_ndarray(format=target[deep, grey])  # type: ignore[return-value]  # whole numbers in all four


def _reader(frame: VideoFrame, rotation: int) -> Callable[[], Pixels]:
    def read() -> Pixels:
        pixels: Any = to_pixels(frame)
        return np.ascontiguousarray(np.rot90(pixels, rotation // 90)) if rotation else pixels

    return read


def _giving(pixels: Pixels) -> Callable[[], Pixels]:
    return lambda: pixels


def _in_order(frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
    """Sort the timestamps of frames, which are already in presentation order."""
    waiting, times = deque[VideoFrame](), list[int]()
    for frame in frames:
        waiting.append(frame)
        heapq.heappush(times, frame.pts or 0)
        if len(waiting) > LONGEST_REORDER:
            yield _at(waiting.popleft(), heapq.heappop(times))
    while waiting:
        yield _at(waiting.popleft(), heapq.heappop(times))


def _at(frame: VideoFrame, pts: int) -> VideoFrame:
    frame.pts = pts
    return frame
