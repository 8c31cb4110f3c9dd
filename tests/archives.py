"""Small archives of pairs for tests, and the real pairs that lie beside a checkout on development machines."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"


def make_pair(folder: Path, name: str, size: tuple[int, int] = (64, 48), seed: int = 0) -> None:
    """Write `visible/NAME.png` in colour and `infrared/NAME.png` in grey, with content of their own."""
    rng = np.random.default_rng(seed)
    width, height = size
    ramp = np.linspace(0, 160, width)[None, :] + np.zeros((height, 1))
    visible = np.stack([ramp, ramp * 0.7, 40 + ramp * 0.4], axis=-1) + rng.normal(0, 8, (height, width, 3))
    infrared = 30 + 20 * rng.random((height, width))
    infrared[height // 3 : 2 * height // 3, width // 4 : width // 2] += 180
    for sensor, pixels in (("visible", visible), ("infrared", infrared)):
        path = folder / sensor / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def make_archive(folder: Path, count: int, size: tuple[int, int] = (64, 48)) -> list[str]:
    """Write `count` pairs and return their ids."""
    ids = [f"street_{number:03d}" for number in range(count)]
    for seed, name in enumerate(ids):
        make_pair(folder, name, size, seed)
    return ids


def real_set(name: str) -> Path:
    """Return the folder of a real set, or skip the test where it is missing."""
    folder = REAL_DATA / name
    if not folder.is_dir():
        pytest.skip(f"the real pairs of {name} are not on this machine ({folder})")
    return folder
