"""Small recordings for tests: a bright block that wanders over a ramp, seen in colour by A and as heat by B."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame

SIZE = (64, 48)
ENCODERS: dict[str, tuple[str, str]] = {
    "h264": ("libx264", "yuv420p"),
    "h265": ("libx265", "yuv420p"),
    "h265-10": ("libx265", "yuv420p10le"),
    "mjpeg": ("mjpeg", "yuvj420p"),
    "ffv1": ("ffv1", "bgr0"),
    "ffv1-16": ("ffv1", "gray16le"),
    "mpeg4": ("mpeg4", "yuv420p"),
}


def visible(seconds: float, size: tuple[int, int] = SIZE) -> np.ndarray:
    """What A sees at a moment."""
    return _scene(seconds, size, np.array([200, 120, 60]), 40)


def heat(seconds: float, size: tuple[int, int] = SIZE) -> np.ndarray:
    """What B sees at the same moment."""
    return _scene(seconds, size, np.array([230]), 20)[..., 0]


def _scene(seconds: float, size: tuple[int, int], colour: np.ndarray, ground: int) -> np.ndarray:
    width, height = size
    ramp = ground + np.linspace(0, 60, width)[None, :, None] + np.zeros((height, 1, len(colour)))
    image = ramp + 8 * np.sin(np.arange(height))[:, None, None]
    # Fits and starts that never repeat, so that one moment cannot be taken for another.
    walk = 0.5 + 0.5 * np.sin(0.7 * seconds + 2.5 * np.sin(0.31 * seconds * seconds))
    left, top = int(walk * (width - width // 4)), int((0.5 + 0.5 * np.sin(1.3 * seconds)) * height / 2)
    image[top : top + height // 3, left : left + width // 4] = colour
    return np.clip(image, 0, 255).astype(np.uint8)


def write_recording(
    path: Path,
    frames: Iterable[np.ndarray],
    codec: str = "h264",
    rate: int = 25,
    ticks: Sequence[int] | None = None,
    gop: int = 10,
    options: dict[str, str] | None = None,
    audio: bool = False,
) -> Path:
    """Write frames as a recording; `ticks` says when each is shown, in units of 1 / rate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name, pixel_format = ENCODERS[codec]
    quiet = {"x265-params": "log-level=none"} if name == "libx265" else {}
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(name, rate=rate, options=quiet | (options or {}))
        stream.pix_fmt = pixel_format
        stream.codec_context.gop_size = gop
        audio = container.add_stream("aac", rate=16000, layout="mono") if audio else None
        last = 0
        for number, image in enumerate(frames):
            if number == 0:
                stream.height, stream.width = image.shape[:2]
            frame = _as_frame(image).reformat(format=pixel_format)
            last = number if ticks is None else ticks[number]
            frame.pts, frame.time_base = last, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            _write_tone(container, audio, (last + 1) / rate)
    return path


def write_pair(
    folder: Path, name: str = "cam", seconds: float = 2.0, suffix: str = ".mp4", **options: Any
) -> tuple[Path, Path]:
    """Write `visible/NAME` and `infrared/NAME`, frame for frame of the same moments."""
    rate = options.get("rate", 25)
    times = [n / rate for n in range(round(seconds * rate))]
    a = write_recording(folder / "visible" / f"{name}{suffix}", map(visible, times), **options)
    return a, write_recording(folder / "infrared" / f"{name}{suffix}", map(heat, times), **options)


def _as_frame(image: np.ndarray) -> VideoFrame:
    if image.ndim == 3:
        return VideoFrame.from_ndarray(image, format="rgb24")
    return VideoFrame.from_ndarray(image, format="gray" if image.dtype == np.uint8 else "gray16le")


def _write_tone(container: Any, stream: Any, seconds: float) -> None:
    samples = int(seconds * 16000)
    tone = (0.2 * np.sin(np.arange(samples) * 0.17)).astype(np.float32)[None]
    for start in range(0, samples - 1023, 1024):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(tone[:, start : start + 1024]), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, start, Fraction(1, 16000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
