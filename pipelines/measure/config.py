"""The configuration of `upfusion measure`, checked before an image is read."""

from pydantic import Field

from pipelines.config.metrics import MetricNames
from pipelines.sources.config import SourceFields


class MeasureConfig(SourceFields):
    """Options of `upfusion measure`.

    A and B are prepared as the fuse job did whose DEST is given as FUSED, which allows no options on that; other
    images as these options say.
    """

    a: str = Field(description="Image of source A, or a folder of them (local or s3://).")
    b: str = Field(description="Image of source B, or a folder of them.")
    fused: str = Field(
        description="Fused image, a folder of them or the DEST of a fuse job; files with the same path and name belong "
        "together."
    )
    metrics: MetricNames = Field(
        ("default",),
        validate_default=True,
        description="Metrics to measure, comma-separated, such as vif,ssim; 'default' is all but the costly qp, "
        "'all' and 'none' what they say.",
    )
    as_json: bool = Field(False, alias="json", description="Print JSON.")
