"""The configurations of `upfusion create` and `upfusion convert`."""

from pydantic import Field

from pipelines.config.base import JobConfig
from upfusion.presets import PRESETS


class CreateConfig(JobConfig):
    """Options of `upfusion create`."""

    preset: str = Field(description=f"One of {', '.join(PRESETS)}.")
    out: str = Field(description="Checkpoint file to write (.safetensors), local or s3://.")
    weights: str | None = Field(
        None,
        description="File (local or s3://) with the ConvNeXt's weights, for machines that cannot reach a model hub.",
    )
    text_encoder: str | None = Field(
        None,
        description="File or folder (local or s3://) holding the text encoder, for machines that cannot reach a model "
        "hub.",
    )


class ConvertConfig(JobConfig):
    """Options of `upfusion convert`."""

    source: str = Field(description="The authors' checkpoint (.pth), local or s3://.")
    out: str = Field(description="Checkpoint file to write (.safetensors), local or s3://.")
    prompt: str | None = Field(
        None,
        description="The single text the weights were trained with (see the authors' test script); it "
        "becomes the prompt of every task. By default every task has its built-in prompt.",
    )
    text_encoder: str | None = Field(
        None,
        description="File or folder (local or s3://) holding the text encoder, for machines that cannot reach a model "
        "hub.",
    )
