"""A night street as a pair of recordings: cars drive, people walk, both sensors watch."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.frame import VideoFrame

from pipelines.demo.street import draw_moment
from pipelines.demo.street.things import Array

SEED = 7


def write_videos(folder: str | Path, seconds: float = 4.0, rate: int = 10, width: int = 320, height: int = 240) -> None:
    """Write `visible/street.mp4` and `infrared/street.mp4`, frame for frame of the same moments."""
    moments = [draw_moment(SEED, number / rate, width, height) for number in range(round(seconds * rate))]
    for side, sensor in enumerate(("visible", "infrared")):
        file = Path(folder) / sensor / "street.mp4"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_video(file, [moment[side] for moment in moments], rate)


def write_video(file: Path, images: Iterable[Array], rate: int) -> None:
    """Write images of one even size, grey or RGB, as H.264 with a key frame every two seconds."""
    with av.open(str(file), "w") as container:
        stream: Any = container.add_stream("libx264", rate=rate, options={"crf": "16"})
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 2 * rate
        for number, image in enumerate(images):
            if number == 0:
                stream.height, stream.width = image.shape[:2]
            frame = VideoFrame.from_ndarray(image, format="rgb24" if image.ndim == 3 else "gray")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
