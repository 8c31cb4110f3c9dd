"""The settings by which a job prepares its pairs, with the ranges and rigs that they came to.

What a fuse job fused is what others have to show and to judge, so its folder says how it prepared its pairs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from pipelines.errors.exceptions import UsageError
from pipelines.errors.redaction import redact
from pipelines.rigs.load import read_rigs
from pipelines.rigs.register import Register
from pipelines.sources.config import SourceFields
from pipelines.sources.preparation import Preparation
from pipelines.sources.ranges import Ranges, kept_ranges, pair_options
from pipelines.storage import objects as storage
from pipelines.storage.ownership import read_claim
from upfusion.cameras.pair_options import ranges_of
from upfusion.registration.rig import RigError
from upfusion.registration.rig_set import RigSet

RIG_FILE = "rig.json"
"""Name of the file in a DEST that holds the rigs B was warped by."""


@dataclass(frozen=True)
class SourceSettings:
    """How a job prepares its pairs."""

    config: SourceFields
    ranges: Ranges
    rigs: RigSet | None

    @property
    def preparation(self) -> Preparation:
        """What is done with the files of a pair, without a score of each; a rig brings B to A's size itself."""
        options = pair_options(self.config, self.ranges)
        if self.rigs is None:
            return Preparation(options)
        register = Register(self.rigs.to_json(), self.config.canvas, self.config.refine, judges=False)
        return Preparation(replace(options, resize_b=False), register)

    def of(self, folder: str) -> "SourceSettings":
        """Return the settings of the pairs whose ids begin with a folder, with the ranges of that folder."""
        return replace(self, ranges={side: ranges_of(ranges, f"{folder}/") for side, ranges in self.ranges.items()})

    @property
    def changed(self) -> dict[str, Any]:
        """What differs from pairs as they are stored, registered and on their full scales; empty for these.

        Ranges that single folders have of their own are in `of(folder).changed`.
        """
        found: dict[str, Any] = self.config.changed_settings
        if self.rigs is not None:
            found["rig"] = self.rigs.digest()
        for side, of_side in sorted(self.ranges.items()):
            mapped = {kind: one for kind, one in sorted(of_side.items()) if one is not None and "/" not in kind}
            found |= {f"values_{side}": mapped} if mapped else {}
        return found

    def differences(self, other: "SourceSettings") -> list[str]:
        """Say which settings differ, such as `polarity_b: 'white-hot' here, 'black-hot' there`."""
        here, there = self.changed, other.changed
        defaults = {name: field.default for name, field in SourceFields.model_fields.items()}
        return [
            f"{name}: {here.get(name, defaults.get(name))!r} here, {there.get(name, defaults.get(name))!r} there"
            for name in sorted(here.keys() | there.keys())
            if here.get(name) != there.get(name)
        ]


def find_rigs(config: SourceFields, pairs: pa.Table) -> RigSet | None:
    """Read the rigs that a job is given; raises UsageError."""
    if config.rig == "auto":
        raise UsageError(
            "--rig auto is for `upfusion fuse`; give a file here: that of `upfusion align`, or DEST/rig.json of a fuse "
            "job"
        )
    return None if config.rig is None else read_rigs(config.rig, pairs)


def settings_of_job(uri: str) -> SourceSettings | None:
    """Read how the fuse job of a DEST prepared its pairs; None where it is no DEST.

    Raises UsageError if its run.json or rig.json was not written by an upfusion job.
    """
    run = read_claim(uri)
    return None if run is None else settings_of_run(uri, run)


def settings_of_run(uri: str, run: Mapping[str, Any]) -> SourceSettings:
    """Return the same from the content of `run.json`; raises UsageError."""
    there = {name: run.get("config", {}).get(name) for name in SourceFields.model_fields}
    config = SourceFields.model_validate({name: value for name, value in there.items() if value is not None})
    return SourceSettings(config, kept_ranges(dict(run)), _rigs_of(uri) if config.rig else None)


def _rigs_of(uri: str) -> RigSet:
    file = storage.join(uri, RIG_FILE)
    try:
        return RigSet.from_json(storage.read_bytes(file).decode("utf-8", "replace"))
    except (OSError, RigError) as error:
        said = redact(str(error))
        raise UsageError(f"{file}, by which the pairs of this job were warped, cannot be read: {said}") from error
