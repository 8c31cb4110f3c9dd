"""What a fuse job is told about recordings; every field is a flag of `upfusion fuse`."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from pipelines.config.base import JobConfig

AUTO = "auto"
VideoCodec = Literal["h264", "h265", "ffv1"]


class FootageConfig(JobConfig):
    """How recordings are paired, cut, fused and encoded."""

    offset: str = Field(
        "0",
        description="Seconds that B's clock began after A's: B's frame at t belongs to A's at t + OFFSET. 'auto' finds "
        "them for each recording from what moves in both, and fails a recording where that is not sure.",
    )
    segment_seconds: float = Field(
        10.0, gt=0, le=3600, description="About how long a segment is: what a killed job does again of a recording."
    )
    every: int = Field(1, ge=1, description="Fuse every n-th frame of A.")
    fps: float | None = Field(None, gt=0, description="Fuse at most so many frames of A a second, instead of --every.")
    metrics_every: int = Field(10, ge=1, description="Measure the metrics on every n-th fused frame.")
    resize: Literal["never", "b-to-a"] = Field(
        "never", description="b-to-a scales the frames of B to the size of A's; otherwise a recording with two fails."
    )
    video_codec: VideoCodec = Field(
        "h264",
        description="h264 (8 bits) and h265 (10 bits where a source has more than 8) in mp4, or ffv1 in mkv, which "
        "loses nothing.",
    )
    video_quality: int = Field(
        18,
        ge=0,
        le=51,
        description="Quality (CRF) of h264 and h265: 18 looks like the original, each 6 halve the file.",
    )
    audio: Literal["copy", "drop"] = Field(
        "copy", description="What becomes of A's sound; of other streams nothing is kept."
    )

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
            raise ValueError("--every and --fps both say which frames are fused: give one of them")
        return self

    @property
    def offset_seconds(self) -> float | None:
        """The offset that was given; None where it is to be found."""
        return None if self.offset == AUTO else float(self.offset)

    @property
    def footage_result(self) -> dict[str, Any]:
        """The settings that change what comes of recordings."""
        return {name: getattr(self, name) for name in FootageConfig.model_fields}
