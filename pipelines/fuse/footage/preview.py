"""A small H.264 video of the beginning of a fused recording, which the report embeds.

Every browser plays it, whatever codec and size the recording has, and its size is bounded.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

SECONDS = 20.0
"""How much of a recording is shown."""
LONG_SIDE = 480  # pixels
MOST_FRAMES_A_SECOND = 30
KILOBITS_A_SECOND = 500
"""At most; `SECONDS` of it are 1.25 MB, and 1.7 MB inside a page."""


def write_preview(recording: Path, file: Path) -> None:
    """Write the first `SECONDS` of a recording as a small mp4; raises av.FFmpegError."""
    with av.open(str(recording)) as source, av.open(str(file), "w", options={"movflags": "+faststart"}) as output:
        video = source.streams.video[0]
        time_base = Fraction(video.time_base or 1)
        stream: Any = None
        for frame in _thinned(source.decode(video), time_base):
            if stream is None:
                stream = _stream(output, frame, video.sample_aspect_ratio)
                first = frame.pts or 0
            small = frame.reformat(
                stream.width,
                stream.height,
                "yuv420p",
                dst_colorspace=Colorspace.ITU601,
                dst_color_range=ColorRange.MPEG,
            )
            small.pts, small.time_base = (frame.pts or 0) - first, time_base
            output.mux(stream.encode(small))
        if stream is not None:
            output.mux(stream.encode(None))


def _thinned(frames: Iterator[VideoFrame], time_base: Fraction) -> Iterator[VideoFrame]:
    """Yield the frames of the first `SECONDS`, at most `MOST_FRAMES_A_SECOND`."""
    first: int | None = None
    due = 0.0
    for frame in frames:
        if frame.pts is None:
            continue
        first = frame.pts if first is None else first
        seconds = float((frame.pts - first) * time_base)
        if seconds >= SECONDS:
            return
        if seconds >= due - 1e-3:  # timestamps of mkv are rounded to milliseconds
            due = seconds + 1 / MOST_FRAMES_A_SECOND
            yield frame


def _stream(output: Any, frame: VideoFrame, pixel_aspect: Fraction | None) -> Any:
    limits = f"vbv-maxrate={KILOBITS_A_SECOND}:vbv-bufsize={KILOBITS_A_SECOND}:threads=1"
    options = {"preset": "veryfast", "crf": "28", "x264-params": limits}
    stream = output.add_stream("libx264", rate=MOST_FRAMES_A_SECOND, options=options)
    scale = min(1.0, LONG_SIDE / max(frame.width, frame.height))
    stream.width, stream.height = (max(2, round(side * scale / 2) * 2) for side in (frame.width, frame.height))
    stream.pix_fmt = "yuv420p"  # of the subsamplings, the one that browsers decode
    stream.time_base = stream.codec_context.time_base = frame.time_base
    if pixel_aspect and pixel_aspect != 1:
        stream.codec_context.sample_aspect_ratio = pixel_aspect
    stream.codec_context.colorspace, stream.codec_context.color_range = Colorspace.SMPTE170M, ColorRange.MPEG
    stream.thread_count = 1
    return stream
