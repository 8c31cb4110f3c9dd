"""The configuration of `upfusion export`."""

from typing import Literal

from pydantic import Field

from pipelines.config.base import JobConfig
from upfusion.image_formats import ImageFormat


class ExportConfig(JobConfig):
    """Options of `upfusion export`."""

    destination: str = Field(description="DEST of a fuse job: a folder or an s3:// prefix.")
    to: str = Field(
        description="Folder or s3:// prefix for the images or the Delta table; [CATALOG.]NAMESPACE.TABLE for Iceberg."
    )
    layout: Literal["files", "tars", "delta", "iceberg"] = Field(
        "files",
        description="files: every image under its own name. tars: WebDataset shards 000000.tar and so on, with "
        "KEY.fused.png and its row as KEY.json. delta, iceberg: the rows without images, in one commit, and none where "
        "nothing has changed.",
    )
    shard_mb: int = Field(256, ge=1, description="Largest size of a tar in MiB.")
    format: Literal["same", ImageFormat] = Field(
        "same", description="Convert the images; same leaves them as they are, to the byte."
    )
