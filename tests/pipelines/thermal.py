"""An archive of a thermal camera that is not registered: 16-bit counts of a small range, beside grey images."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.upfusion.registration.scenes import SIZE, planted, unregistered
from upfusion.images import encode_image
from upfusion.registration.rig import Rig

TRUTH = planted()
LOW, HIGH = 22_000, 23_200


def write_thermal(folder: Path, count: int = 1, first: int = 0, warmer: int = 0) -> Path:
    """Write pairs `visible/000.png` (8 bits) and `infrared/000.png` (counts), whose B the rig brings onto A."""
    for number, (a, b) in enumerate(unregistered(count, TRUTH, first=first), first):
        counts = np.rint(LOW + warmer + b / 255.0 * (HIGH - LOW)).astype(np.uint16)
        for sensor, pixels in (("visible", a), ("infrared", counts)):
            (folder / sensor).mkdir(parents=True, exist_ok=True)
            (folder / sensor / f"{number:03d}.png").write_bytes(encode_image(pixels, "png"))
    return folder


def write_rig(file: Path) -> str:
    """Write the rig of such an archive and return its path."""
    Rig(SIZE, SIZE, TRUTH).save(file)
    return str(file)


def row_of(source: Path, pair_id: str = "000") -> dict[str, Any]:
    """Return the row of a pair with its files, as the decode stage gets it."""
    row: dict[str, Any] = {"pair_id": pair_id, "task": "ir_visible", "error_code": None, "error": None}
    for side, sensor in (("a", "visible"), ("b", "infrared")):
        file = source / sensor / f"{pair_id}.png"
        row |= {f"{side}_uri": str(file), f"{side}_file": file.read_bytes()}
    return row


def write_image(file: Path, pixels: np.ndarray) -> None:
    """Write an image of 8 bits."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)
