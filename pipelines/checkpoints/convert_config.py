"""What a conversion of the authors' weights is told."""

from pydantic import Field

from pipelines.config.base import JobConfig


class ConvertConfig(JobConfig):
    """What a conversion is told."""

    source: str = Field(description="The authors' checkpoint (.pth), local or s3://.")
    out: str = Field(description="Checkpoint file to write (.safetensors), local or s3://.")
    prompt: str | None = Field(
        None,
        description="The one text that the weights were trained with (the authors' stands in their test script); it "
        "becomes the prompt of every task. By default every task has its built-in prompt.",
    )
    text_encoder: str | None = Field(
        None, description="File or folder (local or s3://) holding the text encoder, where no model hub can be reached."
    )
