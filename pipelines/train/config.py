"""The configuration of a training job: one frozen object, checked before a cluster is touched."""

import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from pipelines.config.fields import (
    MAX_FILE_MB,
    Allow,
    Experiment,
    MaxFileMB,
    MaxPixels,
    NoTracking,
    RuntimeOnly,
    TrackingUri,
    Words,
    to_bytes,
)
from pipelines.sources.config import SourceFields
from upfusion.augmentation import AUGMENTATIONS
from upfusion.image_guard import MAX_PIXELS
from upfusion.presets import PARTS, PRESETS

if TYPE_CHECKING:
    from upfusion.learner import Recipe
    from upfusion.losses import LossWeights

LIKE_THE_PAPER = "; the paper's by default"
SMALLEST_CROP, SMALLEST_FIDELITY_CROP = 16, 41  # the second: one window at VIF's coarsest scale


class TrainConfig(SourceFields):
    """All options of a training job; the defaults are the paper's where it gives a value."""

    data: tuple[str, ...] = Field(
        min_length=1,
        description="Folders or s3:// prefixes of pairs (LLVIP's layout, or any that `upfusion fuse` takes), or "
        "manifests; ROOT=2 samples the pairs of a root twice as often. If a root has a folder train, only that "
        "is trained on, and val, if there is one, validates.",
    )
    out: RuntimeOnly[str] = Field(
        description="Folder or s3:// prefix of the run: checkpoints, the list of pairs, the best model."
    )
    preset: str = Field("tiny", description=f"Network to train from random weights: {', '.join(PRESETS)}.")
    without: Words = Field(
        (), description=f"Parts to train the preset without, comma-separated, for an ablation: {', '.join(PARTS)}."
    )
    start: str | None = Field(
        None,
        description="Checkpoint to start from instead: tiny (the one that ships), a file, local or s3://, such as "
        "`upfusion create` makes, or models:/NAME@ALIAS.",
    )
    teacher: str | None = Field(
        None,
        description="Trained model, given as for --start, whose results --imitation draws the network's towards "
        "(distillation).",
    )
    weights: RuntimeOnly[str | None] = Field(
        None,
        description="File of the preset's pretrained ConvNeXt (local or s3://), for machines that cannot reach a "
        "model hub.",
    )
    text_encoder: RuntimeOnly[str | None] = Field(
        None,
        description="File or folder of the text encoder (local or s3://), for machines that cannot reach a model hub.",
    )
    val: str | None = Field(
        None, description="Folder, prefix or manifest of pairs to validate with; if it has a folder val, only that."
    )
    val_share: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="Share of each root's pairs (the last by name) held out for validation if no other "
        "pairs are given; 0 trains without.",
    )
    val_pairs: int = Field(24, ge=1, description="Largest number of validation pairs, evenly spread.")
    bad_data: Literal["refuse", "skip"] = Field(
        "refuse", description="Whether unusable pairs stop the run or are skipped; they are listed either way."
    )
    allow: Allow = ()
    max_pixels: MaxPixels = MAX_PIXELS
    max_file_mb: MaxFileMB = MAX_FILE_MB
    terms: str = Field("", description="Terms of the training data, for the model's card.")

    epochs: float = Field(100, gt=0, description="Passes over the pairs, one crop per pair" + LIKE_THE_PAPER + ".")
    batch: int = Field(8, ge=1, description="Crops of one optimiser step, over all workers.")
    crop: int = Field(192, ge=SMALLEST_CROP, description="Side of a crop in pixels" + LIKE_THE_PAPER + ".")
    halved: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the crops taken at half size, from images of at least 8 crops a side, in which a crop "
        "at full size shows little.",
    )
    unrelated: float = Field(
        0.0, ge=0, le=1, description="Share of the crops whose B is of another pair, as unlike A as CT is unlike MRI."
    )
    augment: Words = Field(
        ("flip",), description=f"Augmentations of crops, comma-separated, or none: {', '.join(AUGMENTATIONS)}."
    )
    random_prompts: float = Field(
        0.0, ge=0, le=1, description="Share of the crops guided by any built-in prompt instead of their task's."
    )
    phrases: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the crops guided by one of the phrases that come with the text encoder, such as 'less "
        "infrared', whose wish the losses follow.",
    )
    random_wishes: float = Field(
        0.0, ge=0, le=1, description="Share of the other crops guided by a random balance or wish, which they follow."
    )
    intensity: float = Field(1.0, ge=0, description="Weight of the L1 loss to the brighter source.")
    gradient: float = Field(1.0, ge=0, description="Weight of the L1 loss to the larger Sobel gradient.")
    overshoot: float = Field(
        0.0, ge=0, description="Weight of the Sobel gradient beyond that of both sources: halos, amplified noise."
    )
    structure: float = Field(0.0, ge=0, description="Weight of 1 - the harmonic mean of SSIM with both sources.")
    structure_agreed: float = Field(
        0.0, ge=0, description="Weight of the same where both sources agree, by how far their SSIM exceeds 0.5."
    )
    fidelity: float = Field(0.0, ge=0, description="Weight of 1 - the harmonic mean of VIF with both sources.")
    feature: float = Field(0.0, ge=0, description="Weight of the loss on the features that Q_P measures.")
    feature_share: float = Field(
        1.0, gt=0, le=1, description="Share of a step's crops, the darkest, that it compares, as it takes long."
    )
    bounds: float = Field(0.0, ge=0, description="Weight of how far luma lies outside its range.")
    wishes: float = Field(
        0.0, ge=0, description="Weight of what phrases ask for beside a balance: bright targets, a lifted dark."
    )
    imitation: float = Field(0.0, ge=0, description="Weight of the L1 distance to the results of the --teacher.")
    learning_rate: float = Field(1e-4, gt=0, description="Adam's initial learning rate.")
    final_learning_rate: float = Field(1e-5, ge=0, description="Final learning rate of the cosine schedule.")
    warm_up: int = Field(0, ge=0, description="Warm-up steps of the learning rate.")
    clip: float | None = Field(None, gt=0, description="Gradient clipping: largest norm of the gradient.")
    beta2: float = Field(0.999, gt=0, lt=1, description="Adam's beta2.")
    ema: float | None = Field(
        None, gt=0, lt=1, description="Keep an exponential moving average of the weights, with this decay per step."
    )
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16 is faster on recent GPUs, and less exact.")
    seed: int = Field(0, ge=0, description="Seed of the weights, the order, the crops and the prompts.")

    validate_every: float = Field(1.0, gt=0, description="Epochs between validations.")
    checkpoint_every: RuntimeOnly[int] = Field(
        500, ge=1, description="Steps between checkpoints: a crash loses no more than these."
    )
    log_every: RuntimeOnly[int] = Field(
        20, ge=1, description="Steps between log lines, and between points of the curves."
    )
    max_restarts: RuntimeOnly[int] = Field(
        5, ge=-1, description="How often lost workers are restarted; -1 for no limit."
    )

    workers: RuntimeOnly[str] = Field("1", description="Number of workers, such as 4, or an elastic range such as 2-8.")
    gpus_per_worker: RuntimeOnly[float | None] = Field(
        None, ge=0, description="GPUs of one worker; by default 1 where there are any, 0 trains on CPUs."
    )
    threads: RuntimeOnly[int | None] = Field(
        None,
        ge=1,
        description="PyTorch threads of a worker on CPUs; by default its share of the cores. Another number sums in "
        "another order, which changes the last digits of the weights.",
    )
    micro_batch: RuntimeOnly[int | None] = Field(
        None,
        ge=1,
        description="Crops per forward pass of a worker (gradient accumulation); by default its whole share of the "
        "batch.",
    )
    loaders: RuntimeOnly[int] = Field(4, ge=1, description="Threads of each worker that read and decode images.")
    memory_cache: RuntimeOnly[float] = Field(
        2.0, ge=0, description="GB of decoded images that each worker keeps in memory."
    )
    disk_cache: RuntimeOnly[float] = Field(
        20.0, ge=0, description="GB of object-store files cached on each machine's disk."
    )
    cache_folder: RuntimeOnly[str | None] = Field(
        None, description="Folder of that disk cache; by default below the system's temporary folder."
    )

    register_as: RuntimeOnly[str | None] = Field(
        None, description="Register the best model in MLflow's model registry under this name, such as upfusion."
    )
    alias: RuntimeOnly[str | None] = Field(None, description="Alias the registered version gets, such as champion.")
    experiment: Experiment = "upfusion"
    tracking_uri: TrackingUri = None
    no_tracking: NoTracking = False

    def shared_paths(self) -> list[tuple[str, str]]:
        # A weight, as in ROOT=2, follows the path.
        paths = [("DATA", given) for given in self.data] + [("--out", self.out)]
        return [*paths, ("--val", self.val)] if self.val else paths

    @property
    def max_bytes(self) -> int:
        """Bytes of the largest image file."""
        return to_bytes(self.max_file_mb)

    @property
    def worker_range(self) -> tuple[int, int]:
        """The fewest and the most workers."""
        fewest, _, most = self.workers.partition("-")
        return int(fewest), int(most or fewest)

    @property
    def loss(self) -> "LossWeights":
        """Weights of the loss terms."""
        from upfusion.losses import LossWeights  # imports PyTorch

        return LossWeights(**{term.name: getattr(self, term.name) for term in fields(LossWeights)})

    def recipe(self, steps: int) -> "Recipe":
        """The recipe of a training of so many steps."""
        from upfusion.learner import Recipe

        return Recipe(
            steps=steps,
            loss=self.loss,
            feature_share=self.feature_share,
            learning_rate=self.learning_rate,
            final_learning_rate=self.final_learning_rate,
            warm_up=self.warm_up,
            beta2=self.beta2,
            clip=self.clip,
            ema=self.ema,
            precision=self.precision,
        )

    @field_validator("data", mode="before")
    @classmethod
    def _one_is_enough(cls, data: object) -> object:
        return (data,) if isinstance(data, str) else data

    @field_validator("cache_folder")
    @classmethod
    def _absolute(cls, folder: str | None) -> str | None:
        # Workers have working directories of their own.
        return folder and str(Path(folder).expanduser().absolute())

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, preset: str) -> str:
        if preset not in PRESETS:
            raise ValueError(f"unknown preset {preset!r}; known presets: {', '.join(PRESETS)}")
        return preset

    @field_validator("without")
    @classmethod
    def _known_parts(cls, parts: tuple[str, ...]) -> tuple[str, ...]:
        for part in parts:
            if part not in PARTS:
                raise ValueError(f"unknown part {part!r}; known parts: {', '.join(PARTS)}")
        return tuple(part for part in PARTS if part in parts)

    @field_validator("augment")
    @classmethod
    def _known_augmentations(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in AUGMENTATIONS:
                raise ValueError(f"unknown augmentation {name!r}; known ones: {', '.join(AUGMENTATIONS)}")
        return tuple(name for name in AUGMENTATIONS if name in names)

    @field_validator("workers", mode="before")
    @classmethod
    def _number_or_range(cls, workers: object) -> str:
        numbers = re.fullmatch(r"(\d+)(?:-(\d+))?", str(workers))
        if not numbers or not 1 <= int(numbers[1]) <= int(numbers[2] or numbers[1]):
            raise ValueError(f"expected a number such as 4, or a range such as 2-8, got {workers!r}")
        return str(workers)

    @model_validator(mode="after")
    def _fits_together(self) -> "TrainConfig":
        if self.worker_range[1] > self.batch:
            raise ValueError(f"--batch {self.batch} is smaller than the number of workers ({self.worker_range[1]})")
        if self.register_as and re.search("[/:]", self.register_as):
            raise ValueError(f"--register-as: MLflow does not allow / or : in a name, got {self.register_as!r}")
        if self.alias and (not re.fullmatch(r"[\w-]+", self.alias) or re.fullmatch(r"latest|v\d+", self.alias, re.I)):
            raise ValueError(f"--alias: expected a word other than latest and v1, v2, ..., got {self.alias!r}")
        if self.alias and not self.register_as:
            raise ValueError("--alias needs --register-as NAME: it names a version of a registered model")
        if self.register_as and self.no_tracking:
            raise ValueError("--register-as and --no-tracking exclude each other: MLflow keeps the registry")
        if self.start and self.without:
            raise ValueError("--without belongs to a preset; the checkpoint of --start has its parts already")
        if self.start and self.weights:
            raise ValueError("--weights belongs to a preset; the checkpoint of --start holds its ConvNeXt")
        if not any(vars(self.loss).values()):
            raise ValueError("all terms of the loss have weight 0, so there is no loss to minimise")
        if bool(self.imitation) != bool(self.teacher):
            raise ValueError("--teacher and --imitation belong together: a model, and the weight of its results")
        if self.fidelity and self.crop < SMALLEST_FIDELITY_CROP:
            raise ValueError(f"--fidelity needs crops of at least {SMALLEST_FIDELITY_CROP} pixels, got {self.crop}")
        return self
