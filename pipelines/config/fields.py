"""Types of fields that several configurations have."""

from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field

from upfusion.image_guard import PILLOWS_LIMIT
from upfusion.runtimes import Runtime

Value = TypeVar("Value")


class RuntimeOnlyMarker:
    """Marks a field that does not affect the result of a job."""


RUNTIME_ONLY = RuntimeOnlyMarker()
RuntimeOnly = Annotated[Value, RUNTIME_ONLY]
"""A field that does not affect the result of a job, such as `actors: RuntimeOnly[int | None]`: an output folder may be
resumed with another value of it. Every other field counts as affecting the result."""


def split_at_commas(given: object) -> object:
    """Split comma-separated words into a tuple; `none` and empty words are dropped."""
    if isinstance(given, str):
        return tuple(word.strip() for word in given.split(",") if word.strip() not in ("", "none"))
    return given


Words = Annotated[tuple[str, ...], BeforeValidator(split_at_commas)]

Allow = Annotated[
    Words,
    Field(
        description="Further locations that a manifest may name, as comma-separated prefixes, such as "
        "s3://other/archive,https://host/images. Without it a manifest in a bucket may name objects of that bucket "
        "only, and a local one local files and s3://."
    ),
    RUNTIME_ONLY,
]
RunnerChoice = Literal["auto", "inline", "ray"]
"""What runs the stages of a job: this process, Ray, or whichever suits the job."""

RuntimeChoice = Literal[Runtime, "auto"]
"""What computes networks; auto is the fastest as measured."""

Experiment = Annotated[str, Field(description="MLflow experiment."), RUNTIME_ONLY]
TrackingUri = Annotated[
    str | None,
    Field(description="MLflow server; by default MLFLOW_TRACKING_URI, or a local SQLite file on a laptop."),
    RUNTIME_ONLY,
]
NoTracking = Annotated[bool, Field(description="Do not track the run in MLflow."), RUNTIME_ONLY]

MaxPixels = Annotated[
    int,
    Field(
        ge=1,
        le=PILLOWS_LIMIT,
        description="Most pixels of an image; a larger one is not decoded and its pair fails. Decoding takes up to 24 "
        "bytes of memory per pixel.",
    ),
    RUNTIME_ONLY,
]
MAX_FILE_MB = 1000
MaxFileMB = Annotated[
    int, Field(ge=1, description="Largest image file in megabytes; the pair of a larger one fails."), RUNTIME_ONLY
]


def to_bytes(megabytes: int) -> int:
    """Convert a limit in megabytes."""
    return megabytes * 1_000_000
