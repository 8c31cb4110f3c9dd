"""The street as two cameras on one mast see it: other fields of view, sizes and lenses, and some parallax.

The infrared camera hangs 15 cm below the visible one, is turned by 2.5 degrees, has fewer pixels, a narrower view and a
lens with barrel distortion. What every street shares is the rig; what differs with distance is parallax: 9 pixels at 10
metres, 1 pixel at 90.
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pipelines.demo.street.scene import compose
from pipelines.demo.street.sensors import see_infrared, see_visible
from pipelines.demo.street.things import Array, Camera
from pipelines.demo.street.view import lay_out

A_SIZE, B_SIZE = (640, 480), (512, 416)
BELOW = 0.15
"""Metres that the infrared camera hangs below the other."""
SCALE, TURN, SHIFT = 0.9, np.deg2rad(2.5), (14.0, -10.0)
"""Pixels of B per pixel of A in the middle; rotation; how far B's middle looks off A's, in pixels of B."""
BARREL = -0.05
_DRAWN = (704, 576)
"""Size of the undistorted infrared image, of which the lens shows the middle."""


def write_unregistered(folder: str | Path, count: int = 12, seed: int = 0) -> list[str]:
    """Write pairs of PNG, `visible/NAME` (640x480 RGB) and `infrared/NAME` (512x416 grey); return the names."""
    names = [f"street_{number:03d}.png" for number in range(1, count + 1)]
    for number, name in enumerate(names):
        pair = draw_unregistered(np.random.default_rng([seed, number]))
        for sensor, image in zip(("visible", "infrared"), pair, strict=True):
            path = Path(folder) / sensor / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    return names


def draw_unregistered(rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw one visible (480, 640, 3) and one infrared (416, 512) image of a street, both uint8, not registered."""
    scene = compose(rng, *A_SIZE)
    visible = see_visible(scene, lay_out(scene), rng)
    other = scene._replace(camera=_second(scene.camera))
    drawn = see_infrared(other, lay_out(other), rng)
    return visible, np.asarray(cv2.remap(drawn, *_through_the_lens(), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT))


def _second(camera: Camera) -> Camera:
    x = (camera.x - A_SIZE[0] / 2) * SCALE + _DRAWN[0] / 2 + SHIFT[0]
    y = (camera.y - A_SIZE[1] / 2) * SCALE + _DRAWN[1] / 2 + SHIFT[1]
    return Camera(*_DRAWN, camera.focal * SCALE, x, y, camera.above - BELOW)


def _through_the_lens() -> tuple[Array, Array]:
    """Return where each pixel of B looks in the undistorted image: x and y, `(416, 512)`."""
    half = B_SIZE[0] / 2
    y, x = np.mgrid[: B_SIZE[1], : B_SIZE[0]].astype(np.float64)
    u, v = (x - (B_SIZE[0] - 1) / 2) / half, (y - (B_SIZE[1] - 1) / 2) / half
    bent = 1 - BARREL * (u * u + v * v)
    u, v = u * bent, v * bent
    turned = np.cos(TURN) * u - np.sin(TURN) * v, np.sin(TURN) * u + np.cos(TURN) * v
    columns, rows = (part * half + (side - 1) / 2 for part, side in zip(turned, _DRAWN, strict=True))
    return columns.astype(np.float32), rows.astype(np.float32)
