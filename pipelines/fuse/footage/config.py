"""Options of a fuse job for recordings; every field is a flag of `upfusion fuse`."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipelines.config.base import JobConfig
from pipelines.config.fields import RuntimeOnly

AUTO = "auto"
VideoCodec = Literal["h264", "h265", "ffv1"]


class FootageConfig(JobConfig):
    """How recordings are paired, cut, fused and encoded."""

    offset: str = Field(
        "0",
        description="Seconds by which B's clock started after A's: B's frame at t belongs to A's at t + OFFSET. "
        "'auto' estimates them per recording from motion in both, and fails a recording whose estimate is uncertain.",
    )
    segment_seconds: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="Approximate length of a segment, which is what a killed job repeats of a recording.",
    )
    every: int = Field(1, ge=1, description="Fuse every n-th frame of A.")
    fps: float | None = Field(
        None, gt=0, description="Fuse at most this many frames of A per second, instead of --every."
    )
    metrics_every: int = Field(10, ge=1, description="Measure the metrics on every n-th fused frame.")
    video_codec: VideoCodec = Field(
        "h264",
        description="h264 (8 bits) and h265 (10 bits where a source has more than 8) in mp4, or ffv1 in mkv, which is "
        "lossless.",
    )
    video_quality: int = Field(
        18,
        ge=0,
        le=51,
        description="Quality (CRF) of h264 and h265: 18 looks like the original, every +6 halves the file.",
    )
    keep_segments: RuntimeOnly[bool] = Field(
        False, description="Keep segments/ after its recordings are joined; without it they are removed then."
    )
    audio: Literal["copy", "drop"] = Field("copy", description="Whether A's audio is kept; other streams are dropped.")

    @field_validator("offset", mode="before")
    @classmethod
    def _seconds_or_auto(cls, given: object) -> str:
        if given == AUTO:
            return AUTO
        try:
            seconds = float(str(given))
        except ValueError:
            seconds = float("nan")
        if not abs(seconds) < 1e7:
            raise ValueError(f"expected seconds, such as 1.25 or -3, or auto, got {given!r}")
        return f"{seconds:g}"

    @model_validator(mode="after")
    def _one_rate(self) -> "FootageConfig":
        if self.every > 1 and self.fps is not None:
            raise ValueError("--every and --fps exclude each other: both select the frames to fuse")
        return self

    @property
    def offset_seconds(self) -> float | None:
        """The given offset in seconds; None for auto."""
        return None if self.offset == AUTO else float(self.offset)
