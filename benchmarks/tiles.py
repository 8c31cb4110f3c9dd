"""How much tiles change the result: SSIM of images fused in tiles against the same images fused whole.

    python benchmarks/tiles.py [ARCHIVE [PAIRS]]

ARCHIVE is what `upfusion fuse` takes, of which the first PAIRS pairs (default 4) count; without one, two night streets
are drawn. No times: a difference, which a network with global attention and gates has whatever the overlap.
"""

import sys
from collections.abc import Iterator

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from pipelines.archive.config import ArchiveConfig
from pipelines.archive.discover import discover
from pipelines.demo.street import draw_pair
from pipelines.storage import objects as storage
from upfusion import FusionModel, load
from upfusion.color import Pixels, luma8
from upfusion.images import decode_image
from upfusion.metrics.ssim import ssim_per_source
from upfusion.tiles import Tiles

TILES = (
    Tiles(side=256, overlap=32),
    Tiles(side=256, overlap=128),
    Tiles(side=512, overlap=64),
    Tiles(side=512, overlap=256),
    Tiles(side=1024, overlap=64),
)


def main() -> None:
    """Fuse every pair whole and in tiles, and print how alike the results are."""
    archive, count = (*sys.argv[1:], "4")[:2] if len(sys.argv) > 1 else (None, "2")
    whole = load("tiny")
    alike: dict[Tiles, list[float]] = {tiles: [] for tiles in TILES}
    for a, b, task in _read(archive, int(count)) if archive else _draw(int(count)):
        reference = whole.fuse(a, b, task=task)
        for tiles in TILES:
            if tiles.needed(*a.shape[:2]):
                fused = FusionModel(whole.checkpoint, tiles=tiles).fuse(a, b, task=task)
                alike[tiles].append(_ssim(reference, fused))
    table = Table("tile", "overlap", "pairs", "mean SSIM against whole", "lowest", box=None, pad_edge=False)
    for tiles, values in alike.items():
        if values:
            figures = (f"{np.mean(values):.4f}", f"{min(values):.4f}")
            table.add_row(str(tiles.side), str(tiles.overlap), str(len(values)), *figures)
    Console().print(table)


def _read(archive: str, count: int) -> Iterator[tuple[Pixels, Pixels, str]]:
    for pair in discover(ArchiveConfig(source=archive, limit=count)).pairs.to_pylist():
        a, b = (decode_image(storage.read_bytes(pair[side])).pixels for side in ("a_uri", "b_uri"))
        yield a, b, pair["task"]


def _draw(count: int) -> Iterator[tuple[Pixels, Pixels, str]]:
    for number in range(count):
        yield *draw_pair(np.random.default_rng([0, number]), 1280, 1024), "ir_visible"


def _ssim(one: Pixels, other: Pixels) -> float:
    one_1HW, other_1HW = (torch.from_numpy(luma8(image))[None, None] for image in (one, other))
    return float(ssim_per_source(one_1HW, one_1HW, other_1HW)[0, 0])


if __name__ == "__main__":
    main()
