"""Encoding fused frames such that segments can be concatenated without re-encoding.

Every segment begins with a key frame and there are no B-frames, so packets are in presentation order; nothing in
the encoders depends on the number of cores, so the same frames give the same bytes.
"""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from pipelines.fuse.footage.config import VideoCodec
from pipelines.fuse.footage.container import RecordingError
from upfusion.color import Pixels
from upfusion.images import to_8_bits

CONTAINERS: dict[VideoCodec, str] = {"h264": ".mp4", "h265": ".mp4", "ffv1": ".mkv"}
KEY_EVERY = 50  # frames, so that players can seek
ENCODERS: dict[VideoCodec, tuple[str, dict[str, str]]] = {
    # veryfast is several times as fast as the network on any device measured, on one thread.
    "h264": ("libx264", {"preset": "veryfast", "x264-params": f"bframes=0:open-gop=0:keyint={KEY_EVERY}:threads=1"}),
    "h265": (
        "libx265",
        {
            "preset": "veryfast",
            "x265-params": f"bframes=0:open-gop=0:keyint={KEY_EVERY}:frame-threads=1:pools=none:log-level=none",
        },
    ),
    "ffv1": ("ffv1", {"level": "3", "slices": "4", "slicecrc": "1"}),
}


class Encoder:
    """Writes frames to a local file; timestamps are set when segments are joined."""

    def __init__(
        self,
        file: Path,
        codec: VideoCodec,
        quality: int,
        time_base: Fraction,
        rate: float,
        pixel_aspect: Fraction = Fraction(1),
    ) -> None:
        self.file, self.codec, self.quality = file, codec, quality
        self.time_base, self.rate = time_base, Fraction(rate).limit_denominator(100_000)
        self.pixel_aspect = pixel_aspect
        self.frames = 0
        self._first = 0
        self._opened: tuple[OutputContainer, VideoStream] | None = None

    def put(self, pixels: Pixels, pts: int) -> None:
        """Encode a frame; raises RecordingError (`write_failed`) for a size that the codec does not support."""
        frame = self._frame(pixels)
        if self._opened is None:
            self._first = pts
            self._opened = self._open(frame)
        container, stream = self._opened
        frame.pts, frame.time_base = pts - self._first, self.time_base
        container.mux(stream.encode(frame))
        self.frames += 1

    def finish(self) -> None:
        """Flush the encoder and close the file."""
        if self._opened is not None:
            container, stream = self._opened
            container.mux(stream.encode(None))
            self.close()

    def close(self) -> None:
        """Close the file without flushing."""
        if self._opened is not None:
            self._opened[0].close()
            self._opened = None

    def _open(self, frame: VideoFrame) -> tuple[OutputContainer, VideoStream]:
        name, options = ENCODERS[self.codec]
        if self.codec != "ffv1":
            options = options | {"crf": str(self.quality)}
        container = av.open(str(self.file), "w", options={"fflags": "+bitexact"})
        stream: Any = container.add_stream(name, rate=self.rate, options=options)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
        stream.time_base = stream.codec_context.time_base = self.time_base
        if self.pixel_aspect != 1:
            stream.codec_context.sample_aspect_ratio = self.pixel_aspect
        stream.thread_count = 1
        if self.codec == "h265":
            stream.codec_context.codec_tag = "hvc1"  # without it Apple's players show nothing
        if self.codec != "ffv1":
            stream.codec_context.colorspace = Colorspace.SMPTE170M
            stream.codec_context.color_range = ColorRange.MPEG
        return container, stream

    def _frame(self, pixels: Pixels) -> VideoFrame:
        deep = pixels.dtype == np.uint16
        if self.codec == "ffv1":
            return _lossless(pixels)
        height, width = pixels.shape[:2]
        if height % 2 or width % 2:
            raise RecordingError(
                "write_failed",
                f"{self.codec} needs even width and height, got {width}x{height}; ffv1 takes any size",
            )
        if deep and self.codec == "h264":
            pixels, deep = to_8_bits(pixels), False
        rgb: Any = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb48le" if deep else "rgb24")
        return frame.reformat(
            format="yuv420p10le" if deep else "yuv420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
        )


def _lossless(pixels: Pixels) -> VideoFrame:
    deep = pixels.dtype == np.uint16
    whole: Any = np.ascontiguousarray(pixels)
    if pixels.ndim == 2:
        return VideoFrame.from_ndarray(whole, format="gray16le" if deep else "gray")
    if deep:
        return VideoFrame.from_ndarray(whole, format="gbrp16le")
    return VideoFrame.from_ndarray(whole, format="rgb24").reformat(format="bgr0")
