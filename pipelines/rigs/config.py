"""Options about rigs that several jobs share; every field is a flag."""

from typing import Literal

from pydantic import Field, field_validator

from pipelines.config.base import JobConfig
from pipelines.config.fields import RuntimeOnly
from upfusion.registration.camera_names import camera_of

AUTO = "auto"


class PerCamera(JobConfig):
    """Which pairs of an archive are of one camera."""

    per: RuntimeOnly[str | None] = Field(
        None,
        description="One rig per camera: the number of leading folders of a pair's id that name it (1 for "
        "cam3/0001), or a pattern of the id's beginning ('site?/cam*').",
    )

    @field_validator("per", mode="before")
    @classmethod
    def _level_or_pattern(cls, per: object) -> str | None:
        if per is None:
            return None
        try:
            camera_of("", str(per))
        except ValueError as error:
            raise ValueError(str(error).removeprefix("--per: ")) from None
        return str(per)


class WarpFields(JobConfig):
    """By which rig B is warped onto A.

    Which file the rig is from does not affect a result; the transform does, and a plan adds its digest.
    """

    rig: RuntimeOnly[str | None] = Field(
        None,
        description="Warp B onto A: a file that `upfusion align` wrote or rig.json of a fuse job, a 3x3 matrix from "
        "B's pixels to A's (.json, .yaml, .npy), pairs of points (.csv: ax,ay,bx,by), or OpenCV's stereo calibration "
        "(FILE or FILE@DISTANCE).",
    )
    canvas: Literal["common", "a"] = Field(
        "common", description="With a rig, keep what both cameras see, or all of A with B where it sees."
    )
    refine: Literal["never", "pair"] = Field(
        "never",
        description="With a rig, 'pair' also corrects single pairs by a shift or a similarity where that clearly "
        "helps: for masts that shake.",
    )


class RigFields(PerCamera, WarpFields):
    """How B is brought onto A where the cameras are not registered, with a rig of SOURCE itself if wanted."""

    rig: RuntimeOnly[str | None] = Field(
        None,
        description="Warp B onto A: a file that `upfusion align` wrote, a 3x3 matrix from B's pixels to A's (.json, "
        ".yaml, .npy), pairs of points (.csv: ax,ay,bx,by), OpenCV's stereo calibration (FILE or FILE@DISTANCE), or "
        "'auto' to estimate the rig from SOURCE first.",
    )
    misaligned: Literal["note", "fail"] = Field(
        "note", description="What becomes of a pair whose A and B are not registered: a note in its row, or a failure."
    )
