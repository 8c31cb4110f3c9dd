"""Settings for the values and the metadata of sources; every field is a flag of `upfusion fuse`."""

from typing import Literal

from pydantic import Field, field_validator

from pipelines.config.base import JobConfig
from upfusion.cameras.palettes import PALETTES
from upfusion.cameras.ranges import RangeChoice

_RANGE = (
    "full (the whole scale of 8 or 16 bits), LOW:HIGH (22000:23200; 20C:40C where a file knows its temperatures), "
    "percent:LOW:HIGH or auto (one range for the whole archive, from a sample of it), or per-image."
)


class CameraConfig(JobConfig):
    """How values of sensors become grey levels, and what becomes of metadata."""

    range_a: str = Field("full", description=f"Which values of A become black and white: {_RANGE}")
    range_b: str = Field(
        "auto",
        description=f"Which values of B become black and white: {_RANGE} auto leaves images alone that use more than a "
        "quarter of their scale, and those of 8 bits.",
    )
    polarity_b: Literal["white-hot", "black-hot"] = Field(
        "white-hot", description="black-hot inverts B, whose hot things are dark."
    )
    palette_b: str = Field(
        "auto",
        description="Palette that a coloured B is in, to turn its colours back into values: "
        f"{', '.join(PALETTES)}; auto recognises them, none takes the luma.",
    )
    metadata: Literal["keep", "none"] = Field(
        "keep",
        description="keep copies A's EXIF (GPS, time, camera), XMP and colour profile into the fused image and A's "
        "place and time into its row; none leaves all of it out.",
    )
    also: Literal["none", "b"] = Field(
        "none",
        description="b writes B too as it was fused (in A's pixels, at its own depth and range) into registered/, as a "
        "16-bit TIFF or a PNG.",
    )

    @field_validator("range_a", "range_b")
    @classmethod
    def _a_range(cls, text: str) -> str:
        RangeChoice.parse(text)
        return text

    @field_validator("palette_b")
    @classmethod
    def _known_palette(cls, name: str) -> str:
        if name not in ("auto", "none", *PALETTES):
            raise ValueError(f"unknown palette {name!r}; expected auto, none, or one of: {', '.join(PALETTES)}")
        return name
