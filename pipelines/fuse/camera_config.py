"""What becomes of the metadata of sources, and of B as it was fused; every field is a flag of `upfusion fuse`."""

from typing import Literal

from pydantic import Field

from pipelines.sources.config import ValueFields


class CameraConfig(ValueFields):
    """How values of sensors become grey levels, and what is kept beside the fused image."""

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
