"""The configurations of `upfusion create`, `upfusion convert` and `upfusion export-model`."""

import re
from typing import Literal

from pydantic import Field, field_validator

from pipelines.config.base import JobConfig
from pipelines.config.fields import TrackingUri
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


class ExportModelConfig(JobConfig):
    """Options of `upfusion export-model`."""

    model: str = Field(
        description="Preset that ships trained (tiny, nano), checkpoint file (local or s3://), or registered model in "
        "MLflow (models:/NAME@ALIAS or models:/NAME/VERSION)."
    )
    to: Literal["onnx"] = Field("onnx", description="Kind of file.")
    out: str | None = Field(None, description="File to write, local or s3://; by default MODEL.onnx.")
    size: str = Field(
        "dynamic",
        description="HEIGHTxWIDTH of the images, such as 480x640, which runtimes optimise best; dynamic takes any.",
    )
    precision: Literal["fp32", "fp16"] = Field(
        "fp32",
        description="fp16 stores and computes convolutions and linear layers in half precision. For bf16, let the "
        "runtime lower an fp32 file (docs/deploy.md).",
    )
    prompt: str | None = Field(
        None, description="Text, or name of a built-in prompt, to bake in; without it the embedding is an input."
    )
    balance: float | None = Field(
        None, ge=-1, le=1, description="Balance to bake in, from -1 (A) to 1 (B); without it it is an input."
    )
    text_encoder: str | None = Field(
        None,
        description="File or folder (local or s3://) with the text encoder for --prompt, for machines that cannot "
        "reach a model hub.",
    )
    tracking_uri: TrackingUri = None

    @property
    def height_and_width(self) -> tuple[int, int] | None:
        """The fixed size; None where any will do."""
        if self.size == "dynamic":
            return None
        height, width = map(int, self.size.split("x"))
        return height, width

    @field_validator("size")
    @classmethod
    def _is_a_size(cls, size: str) -> str:
        if size != "dynamic" and not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", size):
            raise ValueError(f"expected HEIGHTxWIDTH, such as 480x640, or dynamic, got {size!r}")
        return size
