"""The configuration of an ablation: one frozen object, checked before a cluster is touched."""

from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from pipelines.config.fields import Words
from pipelines.errors.exceptions import UsageError
from pipelines.evaluate.config import EvaluationSettings
from pipelines.storage import objects as storage
from pipelines.train.config import TrainConfig
from upfusion.presets import PARTS

FULL = "full"


def variant_without(part: str) -> str:
    """Return the name of the variant without a part."""
    return f"without-{part}"


class AblateConfig(EvaluationSettings):
    """All options of an ablation."""

    data: Words = Field((), description="Pairs to train the variants on, as `upfusion train` takes them.")
    val: str | None = Field(None, description="Pairs to validate with while training.")
    recipe: str | None = Field(
        None, description="YAML file of options of `upfusion train`, the same for all variants; the paper's by default."
    )
    parts: Words = Field(PARTS, description=f"Parts to leave out, one per variant: {', '.join(PARTS)}.")
    variants: Words = Field(
        (), description="NAME=CHECKPOINT of variants that are already trained: full, without-scpm, without-gam, ..."
    )
    model: str | None = Field(None, description="Model whose prompts are exchanged; by default the full variant.")

    @property
    def names(self) -> list[str]:
        """The variants, the full one first."""
        return [FULL, *(variant_without(part) for part in self.parts)]

    @property
    def trained(self) -> dict[str, str]:
        """Checkpoints of variants that need no training, by name."""
        return {name: place for name, _, place in (given.partition("=") for given in self.variants)}

    @field_validator("parts")
    @classmethod
    def _known_parts(cls, parts: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [part for part in parts if part not in PARTS]:
            raise ValueError(f"unknown part {unknown[0]!r}; known parts: {', '.join(PARTS)}")
        return tuple(part for part in PARTS if part in parts)

    @model_validator(mode="after")
    def _variants_come_from_somewhere(self) -> "AblateConfig":
        if unknown := [name for name in self.trained if name not in self.names]:
            raise ValueError(f"--variants: {unknown[0]!r} is none of {', '.join(self.names)}")
        missing = [name for name in self.names if name not in self.trained]
        if missing and not self.data:
            raise ValueError(f"--data is needed to train {', '.join(missing)}; or give them with --variants")
        return self

    def training(self, name: str, out: str) -> TrainConfig:
        """Return the training configuration of a variant; raises UsageError for an invalid recipe."""
        without = () if name == FULL else (name.removeprefix(variant_without("")),)
        tracking = {"experiment": self.experiment, "tracking_uri": self.tracking_uri, "no_tracking": self.no_tracking}
        given = {"data": self.data, "without": without, "out": out, "allow": self.allow} | tracking
        given |= {"val": self.val} if self.val else {}
        try:
            return TrainConfig.model_validate({**_read_recipe(self.recipe), **given})
        except ValidationError as error:
            found = error.errors()[0]
            field = ".".join(map(str, found["loc"]))
            raise UsageError(f"--recipe {self.recipe}: {field}: {found['msg']}") from error


def _read_recipe(uri: str | None) -> dict[str, Any]:
    if uri is None:
        return {}
    try:
        recipe = yaml.safe_load(storage.read_bytes(uri)) or {}
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"--recipe {uri} cannot be read: {storage.redact(str(error))}") from error
    if not isinstance(recipe, dict):
        raise UsageError(f"--recipe {uri}: expected options of `upfusion train` as 'name: value' lines")
    return {str(name).replace("-", "_"): value for name, value in recipe.items()}
