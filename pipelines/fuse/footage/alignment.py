"""Whether the frames of a segment are registered: some of them are scored."""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from pipelines.fuse.footage.container import RecordingError
from pipelines.rigs.register import MISALIGNED_ADVICE, note_of
from upfusion.color import Pixels
from upfusion.registration.alignment import UNJUDGED, AlignmentScore, alignment_score, misaligned

SCORE_EVERY = 50
"""Frames from one scored frame to the next; scoring takes 15 to 30 ms."""


class SegmentAlignment:
    """Scores frames of one segment as they pass."""

    def __init__(self, task: str, when_misaligned: Literal["note", "fail"]) -> None:
        self._judged, self._fails = task not in UNJUDGED, when_misaligned == "fail"
        self._seen = 0
        self._scores: list[AlignmentScore] = []

    def see(self, a: Pixels, b: Pixels) -> None:
        """Score every fiftieth pair of frames, the first included."""
        self._seen += 1
        if not self._judged or self._seen % SCORE_EVERY != 1:
            return
        found = alignment_score(a, b)
        if found is not None:
            self._scores.append(found)

    @property
    def score(self) -> float | None:
        """The median of the scores; None where no frame has one."""
        return float(np.median([one.score for one in self._scores])) if self._scores else None

    def notes(self) -> Iterator[str]:
        """Yield what there is to say about frames that are not registered."""
        if (found := misaligned(self._scores)) is not None:
            yield note_of(found)

    def check(self) -> None:
        """Raise RecordingError where A and B are not registered and that is to fail."""
        if self._fails and (found := misaligned(self._scores)) is not None:
            raise RecordingError(
                "not_registered", f"A and B are not registered ({found.describe()}); {MISALIGNED_ADVICE}"
            )
