"""The configuration of a fuse job: one frozen object, checked before a cluster is touched.

The command line, a YAML file and Python all create this object; its field names are the flags.
"""

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipelines.archive.config import ArchiveConfig
from pipelines.config.fields import (
    MAX_FILE_MB,
    Experiment,
    MaxFileMB,
    MaxPixels,
    NoTracking,
    RunnerChoice,
    RuntimeChoice,
    RuntimeOnly,
    TrackingUri,
    to_bytes,
)
from pipelines.config.metrics import MetricNames
from pipelines.fuse.camera_config import CameraConfig
from pipelines.fuse.footage.config import FootageConfig
from pipelines.fuse.guide import Guide
from pipelines.rigs.config import RigFields
from upfusion.file_names import SUFFIXES
from upfusion.image_formats import FORMATS, ImageFormat
from upfusion.image_guard import MAX_PIXELS

if TYPE_CHECKING:
    from upfusion.tiles import Tiles

FORMAT_OF_SUFFIX: dict[str, ImageFormat] = {suffix: name for name, suffix in FORMATS.items()}
FORMAT_OF_SUFFIX |= {".jpeg": "jpeg", ".tiff": "tiff"}


def _suffix_of(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


class FuseConfig(RigFields, CameraConfig, FootageConfig, ArchiveConfig):
    """All options of a fuse job."""

    out: RuntimeOnly[str] = Field(
        description="Folder or s3:// prefix for the results; for two images the fused one, such as fused.png."
    )
    model: str = Field(
        "tiny",
        description="Preset, checkpoint file (local or s3://), or registered model in MLflow (models:/NAME@ALIAS or "
        "models:/NAME/VERSION); a rule without weights: laplacian, mean or max; or onnx:FILE, another network that "
        "takes two lumas or images and gives one.",
    )
    prompt: str | None = Field(
        None,
        description="Text that guides the fusion of every pair, or the name of a built-in prompt (general, ct_mri, "
        "...); by default the built-in prompt of the pair's task.",
    )
    balance: float = Field(
        0.0,
        ge=-1,
        le=1,
        description="How much of A and of B the result keeps, from -1 (A, such as visible) through 0 (both) to 1 (B, "
        "such as infrared); a manifest's column balance goes before it.",
    )
    color: Literal["auto", "keep-chroma", "keep-luma"] = Field(
        "auto",
        description="What gives way where a saturated colour leaves no room for the fused luma: the luma (keep-chroma) "
        "or the saturation, never the hue (keep-luma). auto is keep-luma for PET and SPECT, else keep-chroma.",
    )
    text_encoder: RuntimeOnly[str | None] = Field(
        None,
        description="File or folder (local or s3://) with the text encoder for --prompt, for machines that cannot "
        "reach a model hub.",
    )
    metrics: MetricNames = Field(
        ("default",),
        validate_default=True,
        description="Metrics to measure for every pair, comma-separated, such as vif,ssim; 'default' is all except the "
        "slow qp; 'all' and 'none' are accepted.",
    )
    images: Literal["parquet", "files", "both"] = Field(
        "parquet",
        json_schema_extra={"shown_default": "files, in a bucket parquet"},
        description="Keep fused images inside the Parquet rows, as files under images/, or both.",
    )
    format: ImageFormat = Field(
        "png",
        description="File format of fused images; jpeg and webp have 8 bits per channel, at quality 95, and tiff keeps "
        "A's georeference.",
    )
    runner: RuntimeOnly[RunnerChoice] = Field(
        "auto",
        description="inline runs everything in this process; ray on the cluster of RAY_ADDRESS, or on a Ray of this "
        "machine. auto is inline for fewer than 100 pairs where there is no cluster to join.",
    )
    actors: RuntimeOnly[int | None] = Field(
        None, ge=1, description="Copies of the network; by default one per GPU, or as many as CPUs allow."
    )
    gpus_per_actor: RuntimeOnly[float | None] = Field(
        None,
        ge=0,
        description="GPUs of one copy: 0.5 puts two on one GPU, 0 forces the CPU; by default 1 if any.",
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="bf16 runs convolutions and matrix products in bfloat16: faster on recent GPUs, less exact."
    )
    runtime: RuntimeChoice = Field(
        "torch",
        description="What computes the network: torch, on CPUs and GPUs; onnxruntime or openvino, on CPUs in fp32; "
        "auto, the fastest as measured, now torch. A network in an ONNX file has onnxruntime or openvino.",
    )
    tile: int | None = Field(
        None,
        ge=16,
        description="Fuse images with a side longer than this many pixels in tiles of that size, for images that do "
        "not fit into memory. It changes the result: attention and gates see a tile instead of the whole image.",
    )
    tile_overlap: int = Field(64, ge=0, description="Pixels by which neighbouring tiles overlap and are blended.")
    max_pixels: MaxPixels = MAX_PIXELS
    max_file_mb: MaxFileMB = MAX_FILE_MB
    max_failed: RuntimeOnly[float] = Field(
        1.0, ge=0, le=1, description="Largest share of failed pairs with which the job still succeeds."
    )
    retry_failed: RuntimeOnly[bool] = Field(False, description="Retry the pairs that failed before.")
    price_per_hour: RuntimeOnly[float | None] = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Price of the machine or cluster per hour, in any currency: summary, report and MLflow then say "
        "how many pairs one unit of it pays for.",
    )
    experiment: Experiment = "upfusion"
    tracking_uri: TrackingUri = None
    no_tracking: NoTracking = False

    def result_settings(self) -> dict[str, Any]:
        return super().result_settings() | ({} if self.tile else {"tile_overlap": None})

    def shared_paths(self) -> list[tuple[str, str]]:
        second = [] if self.source_b is None else [("SOURCE_B", self.source_b)]
        return [("SOURCE", self.source), *second, ("--out", self.out)]

    @property
    def is_image_pair(self) -> bool:
        """Whether one image is made of two files, without a destination folder."""
        return self.source_b is not None and _suffix_of(self.out) in FORMAT_OF_SUFFIX

    @property
    def destination(self) -> str:
        """Output folder of this job: DEST, or its sub-folder for a shard."""
        return f"{self.out.rstrip('/')}/{self.part.folder}" if self.shard else self.out

    @property
    def guide(self) -> Guide:
        """What guides every pair beside its text."""
        return Guide(self.balance, self.color)

    @property
    def max_bytes(self) -> int:
        """Bytes of the largest source file."""
        return to_bytes(self.max_file_mb)

    @property
    def tiles(self) -> "Tiles | None":
        """How large images are tiled; None for no tiles."""
        from upfusion.tiles import Tiles  # imports PyTorch

        return Tiles(side=self.tile, overlap=self.tile_overlap) if self.tile else None

    @model_validator(mode="before")
    @classmethod
    def _complete_image_pair(cls, given: Any) -> Any:
        """Two images need no --out; an --out that names an image says the format, and nothing is tracked."""
        if not isinstance(given, dict) or not isinstance(given.get("source_b"), str):
            return given
        sources = [str(given.get(name, "")) for name in ("source", "source_b")]
        two_images = all(_suffix_of(one) in SUFFIXES for one in sources)
        if two_images and given.get("out") is None:
            given = given | {"out": f"fused{FORMATS.get(given.get('format', 'png'), '.png')}"}
        named = FORMAT_OF_SUFFIX.get(_suffix_of(str(given.get("out", ""))))
        if named is None:
            return given
        if not two_images:
            other = next(one for one in sources if _suffix_of(one) not in SUFFIXES)
            raise ValueError(f"--out {given['out']} names an image, but {other} is none by its extension")
        if given.get("format", named) != named:
            raise ValueError(f"--out {given['out']} and --format {given['format']} contradict each other")
        return {"metrics": ("none",), **given, "format": named, "no_tracking": True}

    @model_validator(mode="after")
    def _overlap_fits(self) -> "FuseConfig":
        _ = self.tiles  # validates itself
        return self

    @field_validator("gpus_per_actor")
    @classmethod
    def _whole_above_one(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1 and gpus != int(gpus):
            raise ValueError(f"expected a fraction up to 1 or a whole number of GPUs, got {gpus}")
        return gpus
