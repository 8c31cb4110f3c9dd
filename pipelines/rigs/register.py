"""The step between decoding and fusing: warp B by its rig, and score whether the pair is registered."""

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.archive.load import check_sizes
from pipelines.errors.failures import Row, fail
from upfusion.color import Pixels, luma
from upfusion.registration.alignment import UNJUDGED, AlignmentScore, alignment_score
from upfusion.registration.camera_names import ALL
from upfusion.registration.coordinates import Matrix
from upfusion.registration.pair_refinement import pair_correction
from upfusion.registration.rig import Rig, RigError
from upfusion.registration.rig_set import RigSet
from upfusion.registration.views import view
from upfusion.registration.warp import Canvas, RigWarp, rig_warp

MISALIGNED_ADVICE = "estimate a rig with `upfusion align` and give it as --rig, or leave out --misaligned fail"
"""What to do about pairs that are not registered."""

_FEATHER = 8
"""Pixels over which B fades out at the edge of what it sees (`--canvas a`)."""


@dataclass(frozen=True)
class Register:
    """Registers the pairs of an archive; it travels to the workers as text."""

    rigs: str | None = None
    """A RigSet as JSON; None where pairs are registered already."""
    canvas: Canvas = "common"
    refine: Literal["never", "pair"] = "never"
    misaligned: Literal["note", "fail"] = "note"
    judges: bool = True
    """Whether pairs are scored; not where they were before, or where nobody would see it."""

    def __call__(self, row: Row, a: Pixels, b: Pixels) -> tuple[Pixels, Pixels]:
        """Return A and B on one canvas; sets `rig`, `alignment` and `note` of the row, or fails it."""
        row |= {"rig": None, "alignment": None}
        if self.rigs is not None:
            try:
                a, b = self._warped(row, a, b)
            except RigError as error:
                fail(row, "rig_mismatch", str(error))
                return a, b
        check_sizes(row, a, b)
        if row["error_code"] is None and self.judges:
            self.judge(row, a, b)
        return a, b

    def judge(self, row: Row, a: Pixels, b: Pixels) -> None:
        """Score a pair of one size, and note or fail one that is not registered."""
        found = None if row["task"] in UNJUDGED else alignment_score(a, b)
        if found is None:
            return
        row["alignment"] = found.score
        if not found.misaligned:
            return
        said = found.describe()
        if self.misaligned == "fail":
            fail(row, "not_registered", f"A and B are not registered ({said}); {MISALIGNED_ADVICE}")
        add_note(row, note_of(found))

    def warp_for(self, pair_id: str, task: str) -> tuple[str, RigWarp] | None:
        """Return the name of a pair's rig and its warp, None without rigs. Raises RigError where it has none."""
        if self.rigs is None:
            return None
        rigs = RigSet.from_json(self.rigs)
        camera, rig = rigs.of(pair_id)
        if rig is None:
            known = ", ".join(sorted(rigs.rigs))
            raise RigError(
                f"there is no rig for camera {camera!r} of {task} pair {pair_id!r}, only for {known}; estimate it with "
                "`upfusion align --per`"
            )
        return name_of(camera, rig), rig_warp(rig.to_json(), self.canvas)

    def _warped(self, row: Row, a: Pixels, b: Pixels) -> tuple[Pixels, Pixels]:
        found = self.warp_for(row["pair_id"], row["task"])
        assert found is not None
        row["rig"], warp = found
        correction = self._correction(row, warp.rig, a, b) if self.refine == "pair" else None
        return onto_canvas(warp, a, b, correction)

    def _correction(self, row: Row, rig: Rig, a: Pixels, b: Pixels) -> Matrix | None:
        if (a.shape[1::-1], b.shape[1::-1]) != (rig.a_size, rig.b_size):
            return None  # which the warp will say
        found = pair_correction(rig, (view(a), view(b)))
        if found is None:
            return None
        matrix, kind = found
        x, y = ((rig.a_size[0] - 1) / 2, (rig.a_size[1] - 1) / 2)
        moved = matrix @ np.array([x, y, 1.0])
        distance = float(np.hypot(moved[0] / moved[2] - x, moved[1] / moved[2] - y))
        add_note(row, f"B corrected by a {kind}, {distance:.1f} px in the middle")
        return matrix


def onto_canvas(warp: RigWarp, a: Pixels, b: Pixels, correction: Matrix | None = None) -> tuple[Pixels, Pixels]:
    """Return A and the warped B on the warp's canvas; where B does not see, it shows A's luma."""
    warped_a, warped_b = warp.a(a), warp.b(b, correction)
    if not warp.seen.all():
        warped_b = _filled(warped_a, warped_b, warp.seen)
    return warped_a, warped_b


def note_of(found: AlignmentScore) -> str:
    """Return the note of a pair that is not registered."""
    return found.describe() if found.displacement is None else f"A and B {found.describe()}"


def name_of(camera: str, rig: Rig) -> str:
    """Return how rows name a rig: its digest, behind the camera's name where there are several."""
    return rig.digest() if camera == ALL else f"{camera}@{rig.digest()}"


def add_note(row: Row, note: str) -> None:
    """Add a sentence to the note of a row."""
    row["note"] = "; ".join(part for part in (row.get("note"), note) if part)


def _filled(a: Pixels, b: Pixels, seen: NDArray[np.bool_]) -> Pixels:
    # Two equal images are fused to themselves, so that A continues where B ends.
    weight = np.clip(cv2.distanceTransform(seen.astype(np.uint8), cv2.DIST_L2, 3) / _FEATHER, 0, 1)
    top = np.iinfo(b.dtype).max
    shown: NDArray[Any] = luma(a) * np.float32(top)
    if b.ndim == 3:
        weight, shown = weight[..., None], shown[..., None]
    return np.rint(weight * b + (1 - weight) * shown).astype(b.dtype)
