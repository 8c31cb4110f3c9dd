"""Options on how source files become the two arrays that are fused; every field is a flag."""

from typing import Any, Literal

from pydantic import Field, field_validator

from pipelines.config.base import JobConfig
from pipelines.rigs.config import WarpFields
from upfusion.cameras.palettes import PALETTES
from upfusion.cameras.ranges import RangeChoice

_RANGE = (
    "full (the whole scale of 8 or 16 bits), LOW:HIGH (22000:23200; 20C:40C where a file knows its temperatures), "
    "percent:LOW:HIGH or auto (one range for the whole archive, from a sample of it), or per-image."
)


class ValueFields(JobConfig):
    """How values of sensors become grey levels, and sizes one."""

    range_a: str = Field("full", description=f"Which values of A become black and white: {_RANGE}")
    range_b: str = Field(
        "auto",
        description=f"Which values of B become black and white: {_RANGE} auto leaves images alone that use more than a "
        "quarter of their scale, and those of 8 bits.",
    )
    polarity_b: Literal["white-hot", "black-hot"] = Field(
        "white-hot", description="black-hot inverts B, whose hot things are dark."
    )
    palette_b: str = Field(
        "auto",
        description="Palette that a coloured B is in, to turn its colours back into values: "
        f"{', '.join(PALETTES)}; auto recognises them, none takes the luma.",
    )
    resize: Literal["never", "b-to-a"] = Field(
        "never",
        description="b-to-a scales images and frames of B to A's size; otherwise a pair of two sizes fails.",
    )

    @field_validator("range_a", "range_b")
    @classmethod
    def _a_range(cls, text: str) -> str:
        RangeChoice.parse(text)
        return text

    @field_validator("palette_b")
    @classmethod
    def _known_palette(cls, name: str) -> str:
        if name not in ("auto", "none", *PALETTES):
            raise ValueError(f"unknown palette {name!r}; expected auto, none, or one of: {', '.join(PALETTES)}")
        return name


class SourceFields(ValueFields, WarpFields):
    """The same, with a rig that is in a file: for jobs that use pairs and estimate nothing."""

    @property
    def changed_settings(self) -> dict[str, Any]:
        """The settings of this kind that affect a result and differ from their defaults."""
        defaults = SourceFields.result_defaults()
        return {name: getattr(self, name) for name, value in defaults.items() if getattr(self, name) != value}

    @property
    def given_settings(self) -> list[str]:
        """The options of this kind that were given, as flags."""
        return [
            f"--{name.replace('_', '-')}" for name in sorted(self.model_fields_set & set(SourceFields.model_fields))
        ]
