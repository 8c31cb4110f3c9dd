"""How the two files of a pair become the two arrays that are fused, alike in every job that reads them.

What a fuse job fused is what others have to show and to judge, so its folder says how it prepared its pairs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa

from pipelines.archive.load import AS_STORED, SourceError, combine, read_pair
from pipelines.errors.exceptions import UsageError
from pipelines.errors.failures import Row
from pipelines.errors.redaction import redact
from pipelines.rigs.config import WarpFields
from pipelines.rigs.load import read_rigs
from pipelines.rigs.register import Register
from pipelines.sources.config import SourceFields, ValueFields
from pipelines.sources.ranges import Ranges, kept_ranges, pair_options
from pipelines.storage import objects as storage
from pipelines.storage.ownership import read_claim
from upfusion.cameras.pair_options import PairOptions
from upfusion.cameras.sources import SourceImage, read_source, to_side
from upfusion.color import Pixels
from upfusion.image_guard import MAX_PIXELS, quiet_pillow
from upfusion.registration.rig import RigError
from upfusion.registration.rig_set import RigSet

RIG_FILE = "rig.json"
"""Name of the file in a DEST that holds the rigs B was warped by."""

UNSCORED = Register(judges=False)


@dataclass(frozen=True)
class Preparation:
    """What is done with the files of a pair before it is fused; it travels to the workers."""

    options: PairOptions = AS_STORED
    register: Register = UNSCORED

    def pair(self, row: Row, max_pixels: int = MAX_PIXELS) -> tuple[Pixels, Pixels] | None:
        """Decode `a_file` and `b_file` of a row (pair_id, task, both URIs, error_code) to two arrays of one size.

        Fails the row and returns None where they cannot be; `range_a`, `range_b`, `palette`, `rig` and `note` of it
        are set.
        """
        with quiet_pillow:
            return read_pair(row, max_pixels, self.options, self.register)

    def frames(self, row: Row, a: Pixels, b: Pixels) -> tuple[Pixels, Pixels] | None:
        """Return a frame of A and its partner of B as they are fused; None where they do not fit together.

        `row` has the name of their recording as `pair_id`. Single frames are never corrected.
        """
        still = replace(self.register, refine="never")
        try:
            pair = combine(row, SourceImage(a), SourceImage(b), self.options, still)
        except SourceError:
            return None
        return pair if row["error_code"] is None else None

    def alone(self, side: Literal["a", "b"], data: bytes, max_pixels: int = MAX_PIXELS) -> Pixels:
        """Decode one file whose partner is gone, in its range and palette, at its own size; raises ImageError."""
        name = side.upper()
        return to_side(read_source(data, name, max_pixels), name, getattr(self.options, side)).pixels


def prepare(config: ValueFields, warp: WarpFields, ranges: Ranges, rigs: RigSet | None) -> Preparation:
    """Return how pairs are prepared with these settings; a rig brings B to A's size itself."""
    options = pair_options(config, ranges)
    if rigs is None:
        return Preparation(options)
    register = Register(rigs.to_json(), warp.canvas, warp.refine, judges=False)
    return Preparation(replace(options, resize_b=False), register)


def find_rigs(config: SourceFields, pairs: pa.Table) -> RigSet | None:
    """Read the rigs that a job is given; raises UsageError."""
    if config.rig == "auto":
        raise UsageError(
            "--rig auto is for `upfusion fuse`; give a file here: that of `upfusion align`, or DEST/rig.json of a fuse "
            "job"
        )
    return None if config.rig is None else read_rigs(config.rig, pairs)


@dataclass(frozen=True)
class Fused:
    """How a fuse job prepared its pairs, as its folder says."""

    config: SourceFields
    ranges: Ranges
    rigs: RigSet | None

    @property
    def preparation(self) -> Preparation:
        """The same preparation, without the score of each pair."""
        return prepare(self.config, self.config, self.ranges, self.rigs)

    @property
    def settings(self) -> dict[str, Any]:
        """What has to be equal for two jobs to see the same pairs, by option."""
        found: dict[str, Any] = {**self.config.source_settings, "ranges": known(self.ranges)}
        found["rig"] = None if self.rigs is None else self.rigs.digest()
        return found


def known(ranges: Ranges) -> dict[str, dict[str, str]]:
    """Return the ranges other than full scales, which are what an archive without any has."""
    found = {side: {kind: one for kind, one in of_side.items() if one is not None} for side, of_side in ranges.items()}
    return {side: of_side for side, of_side in sorted(found.items()) if of_side}


def read_fused(uri: str) -> Fused | None:
    """Read how the fuse job of a DEST prepared its pairs; None where it is no DEST.

    Raises UsageError if its run.json or rig.json was not written by an upfusion job.
    """
    run = read_claim(uri)
    return None if run is None else fused_of(uri, run)


def fused_of(uri: str, run: Mapping[str, Any]) -> Fused:
    """Return the same from the content of `run.json`; raises UsageError."""
    there = {name: run.get("config", {}).get(name) for name in SourceFields.model_fields}
    config = SourceFields(**{name: value for name, value in there.items() if value is not None})
    return Fused(config, kept_ranges(dict(run)), _rigs_of(uri) if config.rig else None)


def _rigs_of(uri: str) -> RigSet:
    file = storage.join(uri, RIG_FILE)
    try:
        return RigSet.from_json(storage.read_bytes(file).decode("utf-8", "replace"))
    except (OSError, RigError) as error:
        said = redact(str(error))
        raise UsageError(f"{file}, by which the pairs of this job were warped, cannot be read: {said}") from error
