"""One pair fused as it is and by its rig, side by side: what registration is worth to the eye."""

from pathlib import Path

import numpy as np
from PIL import Image

import upfusion
from pipelines.rigs.register import onto_canvas
from upfusion.cameras.sources import resize_to
from upfusion.images import read_image
from upfusion.registration.rig import Rig
from upfusion.registration.warp import RigWarp


def write_before_after(a_file: Path, b_file: Path, rig_file: Path, picture: Path) -> None:
    """Write a WebP of a pair fused with B only scaled to A, beside the same pair fused by its rig."""
    a, b = read_image(a_file), read_image(b_file)
    warp = RigWarp(Rig.from_json(rig_file.read_text()))
    model = upfusion.load("tiny")
    scaled = resize_to(b, (a.shape[0], a.shape[1]))
    left, top, width, height = warp.box
    box = slice(top, top + height), slice(left, left + width)
    before = model.fuse(a[box], scaled[box], task="ir_visible")
    after = model.fuse(*onto_canvas(warp, a, b), task="ir_visible")
    gap = np.full((height, 8, 3), 255, np.uint8)
    Image.fromarray(np.concatenate([before, gap, after], axis=1)).save(picture, quality=85)
