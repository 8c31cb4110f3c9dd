"""The configuration of an evaluation: one frozen object, checked before a cluster is touched."""

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipelines.config.fields import (
    MAX_FILE_MB,
    Allow,
    Experiment,
    MaxFileMB,
    MaxPixels,
    NoTracking,
    RuntimeChoice,
    TrackingUri,
    Words,
    to_bytes,
)
from pipelines.config.metrics import MetricNames
from pipelines.sources.config import SourceFields
from upfusion.image_guard import MAX_PIXELS

# The part before = is a name, optionally with a task, unless it looks like a path.
NAMED = re.compile(r"(?P<name>[^=:/.~][^=:]*)(?::(?P<task>\w+))?=(?P<place>.+)", re.DOTALL)


class EvaluationSettings(SourceFields):
    """Options of every evaluation, whatever it compares.

    All methods are judged on the same A and B: as these options say, or as the fuse job had them whose DEST is among
    the methods.
    """

    sets: Words = Field(
        min_length=1,
        description="Sets of pairs, each a folder, an s3:// prefix or a manifest as `upfusion fuse` takes them; "
        "NAME=PLACE names one, NAME:TASK=PLACE also sets the kind of its pairs. If a set has a folder test, only "
        "that one is evaluated.",
    )
    out: str = Field(description="Folder or s3:// prefix for the values, tables and pictures.")
    metrics: MetricNames = Field(
        ("default",),
        validate_default=True,
        description="Metrics, comma-separated, such as vif,ssim; 'default' is all except the slow qp; 'all' is "
        "accepted.",
    )
    reference: str | None = Field(
        None, description="Method that the others are compared with pair by pair; by default the first."
    )
    limit: int | None = Field(None, ge=1, description="Take only the first N pairs of each set, in order of their ids.")
    allow: Allow = ()
    max_pixels: MaxPixels = MAX_PIXELS
    max_file_mb: MaxFileMB = MAX_FILE_MB
    sheet_pairs: int = Field(
        3, ge=0, description="Pairs on the contact sheet of each set: those that the methods differ most on."
    )
    no_pictures: bool = Field(False, description="Skip the figures; write values and tables only.")
    actors: int | None = Field(
        None,
        ge=1,
        description="Copies of a network and of the measuring actor; by default one per GPU, or as CPUs allow.",
    )
    gpus_per_actor: float | None = Field(None, ge=0, description="GPUs of one copy; 0 forces the CPU.")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="Precision of the networks.")
    runtime: RuntimeChoice = Field(
        "torch",
        description="What computes the networks, as for `upfusion fuse`: torch, onnxruntime, openvino or auto.",
    )
    text_encoder: str | None = Field(
        None,
        description="Text encoder of checkpoints that lack the embedding of a prompt, for machines that cannot reach "
        "a model hub.",
    )
    retry_failed: bool = Field(False, description="Retry what failed before.")
    experiment: Experiment = "upfusion"
    tracking_uri: TrackingUri = None
    no_tracking: NoTracking = False

    @property
    def max_bytes(self) -> int:
        """Bytes of the largest image file."""
        return to_bytes(self.max_file_mb)

    def shared_paths(self) -> list[tuple[str, str]]:
        return [*(("SET", place_of(given)) for given in self.sets), ("--out", self.out)]

    @field_validator("metrics")
    @classmethod
    def _some_metric(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        if not metrics:
            raise ValueError("an evaluation needs at least one metric")
        return metrics


class EvaluateConfig(EvaluationSettings):
    """All options of an evaluation."""

    methods: Words = Field(
        ("tiny", "mean", "max", "laplacian"),
        min_length=1,
        description="Methods, separated by spaces or commas: a preset, checkpoint or registered model; onnx:FILE, a "
        "network of others; NAME=FOLDER of existing fused images, with a sub-folder per set if there are several; "
        "mean, max, laplacian, a, b. NAME=... renames any of them.",
    )
    costs: Words = Field(
        (), description="NAME=MILLISECONDS (per megapixel) of methods given as images, for the cost plot."
    )
    detect: str | None = Field(
        None,
        description="Weights of a pedestrian detector (.safetensors or .pth, local or s3://) to run on A, B and every "
        "fused image; boxes are those of Annotations/*.xml (VOC) or labels/*.txt (YOLO) beside the images.",
    )
    detector: str = Field("fasterrcnn_resnet50_fpn", description="torchvision's name of the detector.")
    person: int = Field(1, ge=0, description="The detector's label of a person; 1 in COCO.")

    @property
    def milliseconds(self) -> dict[str, float]:
        """Milliseconds per megapixel by method."""
        return {name: float(value) for name, _, value in (given.rpartition("=") for given in self.costs)}

    @field_validator("costs")
    @classmethod
    def _are_numbers(cls, costs: tuple[str, ...]) -> tuple[str, ...]:
        for cost in costs:
            if not re.fullmatch(r".+=\d+(\.\d+)?", cost):
                raise ValueError(f"expected NAME=MILLISECONDS, got {cost!r}")
        return costs

    @model_validator(mode="after")
    def _detector_needs_weights(self) -> "EvaluateConfig":
        if self.detect is None and "detector" in self.model_fields_set:
            raise ValueError("--detector needs --detect WEIGHTS")
        return self


def place_of(given: str) -> str:
    """Return the path or URI of a set, without its name."""
    named = NAMED.fullmatch(given)
    return named["place"] if named else given
