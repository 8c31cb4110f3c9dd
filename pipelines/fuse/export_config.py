"""The configuration of `upfusion export`."""

from typing import Literal

from pydantic import Field

from pipelines.config.base import JobConfig


class ExportConfig(JobConfig):
    """Options of `upfusion export`."""

    destination: str = Field(description="DEST of a fuse job: a folder or an s3:// prefix.")
    to: str = Field(description="Folder or s3:// prefix for the images.")
    format: Literal["same", "png", "jpeg", "webp", "tiff"] = Field(
        "same", description="Convert the images; same leaves them as they are, to the byte."
    )
