"""Synthetic registered infrared-visible pairs of a street at night: what `make demo` fuses.

A street is composed once (scene.py), as buildings, lights and patches (flat polygons); it is found out once
what every pixel sees (view.py); each sensor then looks up its own property of every surface, colour under
lamplight or heat (sensors.py), so that the two images are registered exactly.

World coordinates are metres: x right, y up, z away from the camera, which stands above the origin.
Radiance is linear and unbounded; heat is what the infrared camera shows, from 0 (clear sky) to 1 (a face).
Shape suffixes: h, w image height and width; n points; 3 coordinates or RGB; c channels.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.demo.street.scene import compose
from pipelines.demo.street.sensors import see_infrared, see_visible
from pipelines.demo.street.things import Array
from pipelines.demo.street.view import lay_out

DIAL = ("-1", "-0.5", "+0.5", "+1")
"""Balances at which the first pair of the archive is fused beside 0."""


def write_archive(folder: str | Path, count: int = 12, seed: int = 0) -> list[str]:
    """Write pairs of 640x480 8-bit PNG, `visible/NAME` (RGB) and `infrared/NAME` (grey); return the names.

    The same seed gives the same pairs; a larger count only adds to them. `pairs.csv` beside them is the manifest, in
    which the first pair stands at four more balances as well.
    """
    names = [f"street_{number:03d}.png" for number in range(1, count + 1)]
    for number, name in enumerate(names):
        pair = draw_pair(np.random.default_rng([seed, number]), 640, 480)
        for sensor, image in zip(("visible", "infrared"), pair, strict=True):
            path = Path(folder) / sensor / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    _write_manifest(Path(folder) / "pairs.csv", names)
    return names


def _write_manifest(path: Path, names: list[str]) -> None:
    stems = [Path(name).stem for name in names]
    rows = [(stem, name, "0") for stem, name in zip(stems, names, strict=True)]
    rows += [(f"{stems[0]} at balance {balance}", names[0], balance) for balance in DIAL]
    lines = ["pair_id,a_uri,b_uri,balance"]
    lines += [f"{pair_id},visible/{name},infrared/{name},{balance}" for pair_id, name, balance in rows]
    path.write_text("\n".join(lines) + "\n")


def draw_moment(seed: int, seconds: float, width: int, height: int) -> tuple[Array, Array]:
    """Draw one street, the same for one seed, at a moment of a video: as `draw_pair`, with noise of that moment."""
    scene = compose(np.random.default_rng([seed, 0]), width, height, seconds)
    layout = lay_out(scene)
    rng = np.random.default_rng([seed, 1, round(1000 * seconds)])
    return see_visible(scene, layout, rng), see_infrared(scene, layout, rng)


def draw_pair(rng: np.random.Generator, width: int, height: int) -> tuple[Array, Array]:
    """Draw one visible (H, W, 3) and one infrared (H, W) image of the same street, both uint8."""
    scene = compose(rng, width, height)
    layout = lay_out(scene)
    return see_visible(scene, layout, rng), see_infrared(scene, layout, rng)
