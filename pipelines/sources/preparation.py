"""How the two files of a pair become the two arrays that are fused, alike in every job that reads them."""

from dataclasses import dataclass, replace
from typing import Literal

from pipelines.archive.load import AS_STORED, SourceError, combine, read_pair
from pipelines.errors.failures import Row
from pipelines.rigs.register import Register
from upfusion.cameras.pair_options import PairOptions
from upfusion.cameras.sources import SourceImage, read_source, to_side
from upfusion.color import Pixels
from upfusion.image_guard import MAX_PIXELS, quiet_pillow
from upfusion.registration.warp import RigWarp

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

    def canvas(self, pair_id: str) -> RigWarp | None:
        """Return where a pair lies in A's pixels; None where that is all of A. Raises RigError where it has no rig."""
        found = self.register.warp_for(pair_id, "")
        return None if found is None else found[1]

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


AS_THEY_ARE = Preparation()
"""Files as they are stored, registered and on their full scales."""
