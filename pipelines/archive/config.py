"""Options that select the pairs of an archive."""

import shlex

from pydantic import Field, field_validator, model_validator

from pipelines.archive.shard import Shard
from pipelines.config.base import JobConfig
from pipelines.config.fields import Allow, RuntimeOnly
from upfusion.cameras.pairing import PairBy
from upfusion.prompts import TASKS


class ArchiveConfig(JobConfig):
    """Options that select the pairs of an archive."""

    source: RuntimeOnly[str] = Field(
        description="Folder or s3:// prefix with two sub-folders (visible + infrared, vi + ir, a + b, ct + mri, "
        "...) at any depth, or a manifest (.parquet or .csv) with pair_id, a_uri, b_uri, task; also Parquet files that "
        "hold the images, and WebDataset tars. With SOURCE_B: the image, recording or folder of source A."
    )
    source_b: RuntimeOnly[str | None] = Field(
        None, description="Image, recording or folder of source B, where SOURCE is that of A."
    )
    a: RuntimeOnly[str | None] = Field(
        None,
        description="Pattern of the A images below SOURCE, such as 'cam1/*.jpg'; the column of A in Parquet files that "
        "hold the images.",
    )
    b: RuntimeOnly[str | None] = Field(
        None, description="Pattern of the B images; the part matched by * pairs them with A."
    )
    pair_by: RuntimeOnly[str | None] = Field(
        None,
        description="Pair images by camera file names, in two folders or in one (DJI_0001_T.JPG beside "
        "DJI_0001_W.JPG): name (equal except for the sensor's part), number (of the shot), or time[:SECONDS] (from "
        "EXIF or the name; at most 2 s apart by default, nearest first).",
    )
    task: RuntimeOnly[str | None] = Field(
        None, description=f"Kind of pairs; overrides folder names and the manifest: {', '.join(TASKS)}."
    )
    limit: RuntimeOnly[int | None] = Field(
        None, ge=1, description="Take only the first N pairs, in order of their ids."
    )
    shard: RuntimeOnly[str | None] = Field(
        None,
        description="Take only part I of N, as 'I/N' (1/8 to 8/8), by a hash of the pair ids: pairs never change part "
        "when the archive grows. A fuse job writes it to DEST/shard-I-of-N.",
    )
    allow: Allow = ()
    frame_rate: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="Treat folders of numbered images as recordings with this frame rate (frames/s). Without it they "
        "are pairs of images.",
    )
    max_pairs: RuntimeOnly[int] = Field(
        10_000_000, ge=1, description="Refuse archives and manifests with more pairs than this."
    )
    max_id: RuntimeOnly[int] = Field(1024, ge=1, description="Refuse pair ids longer than this many bytes.")
    max_prompt: RuntimeOnly[int] = Field(
        2000, ge=1, description="Refuse prompts in a manifest longer than this many characters."
    )

    @field_validator("task")
    @classmethod
    def _known_task(cls, task: str | None) -> str | None:
        if task is not None and task not in TASKS:
            raise ValueError(f"unknown task {task!r}; known tasks: {', '.join(TASKS)}")
        return task

    @field_validator("shard")
    @classmethod
    def _part_of_some(cls, shard: str | None) -> str | None:
        if shard is not None:
            Shard.parse(shard)
        return shard

    @field_validator("pair_by")
    @classmethod
    def _known_method(cls, text: str | None) -> str | None:
        if text is not None:
            PairBy.parse(text)
        return text

    @property
    def part(self) -> Shard:
        """The selected shard of the archive."""
        return Shard.parse(self.shard) if self.shard else Shard()

    @property
    def shell_arguments(self) -> str:
        """SOURCE and how its pairs are found, quoted for the commands that messages suggest."""
        names = ("a", "b", "pair_by", "task", "frame_rate", "allow")
        given = {f"--{name.replace('_', '-')}": getattr(self, name) for name in names}
        words = [self.source] if self.source_b is None else [self.source, self.source_b]
        for option, value in given.items():
            if value not in (None, ()):
                words += [option, ",".join(value) if isinstance(value, tuple) else str(value)]
        return shlex.join(words)

    @model_validator(mode="after")
    def _both_patterns(self) -> "ArchiveConfig":
        if (self.a is None) != (self.b is None):
            raise ValueError("--a and --b go together: give both patterns or neither")
        if self.source_b is not None and (self.a is not None or self.pair_by is not None):
            raise ValueError("SOURCE and SOURCE_B name both sides already: give them without --a, --b and --pair-by")
        if self.pair_by is not None and (self.a is not None or self.frame_rate is not None):
            raise ValueError("--pair-by pairs by the names of cameras: give it without --a, --b and --frame-rate")
        return self
