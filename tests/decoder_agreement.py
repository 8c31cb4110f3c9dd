"""Comparing what `decode_image` makes of many drawn files with what other libraries make of them."""

import logging
from collections import Counter
from dataclasses import dataclass, field

import cv2

from tests.image_kinds import drawn_files
from tests.image_readers import differences, readings
from upfusion.images import ImageError, decode_image

MAX_PIXELS = 1_000_000


@dataclass
class Agreement:
    """What became of some files."""

    agreed: int = 0
    """Files that two or three libraries beside ours read, all alike."""
    alone: int = 0
    """Files that at most one other library reads."""
    codes: Counter[str] = field(default_factory=Counter)
    disagreements: list[str] = field(default_factory=list)

    @property
    def refused(self) -> int:
        """Files that were not decoded."""
        return sum(self.codes.values())


def compare(count: int, seed: int) -> Agreement:
    """Decode drawn files, half of them damaged, and compare every one that is not refused."""
    found = Agreement()
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        for number, data in enumerate(drawn_files(count, seed)):
            try:
                pixels = decode_image(data, MAX_PIXELS).pixels
            except ImageError as error:
                found.codes[error.code] += 1
                continue
            others = readings(data)
            differing = differences(pixels, others)
            found.disagreements += [f"seed {seed}, file {number}: {said}" for said in differing]
            found.agreed += len(others) >= 2 and not differing
            found.alone += len(others) < 2
    finally:
        cv2.utils.logging.setLogLevel(level)
    return found
