"""Fusing in overlapping tiles what does not fit into memory whole.

The network's channel attention, gates and pruning look at the whole image, in a tile at the tile: tiles change the
result, so they are never used unasked.

Shape suffixes: B batch, H height, W width, T text dimension.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Squares of `side` pixels of which neighbours share at least `overlap` pixels, both in pixels.

    Raises ValueError when the overlap is more than half of the side.
    """

    side: int
    overlap: int = 64

    def __post_init__(self) -> None:
        """Check the bounds."""
        if self.side < 16:
            raise ValueError(f"tile: expected a side of at least 16 pixels, got {self.side}")
        if not 0 <= self.overlap <= self.side // 2:
            raise ValueError(f"tile overlap: expected 0 to half of the side {self.side}, got {self.overlap}")

    def needed(self, height: int, width: int) -> bool:
        """Tell whether an image is larger than one tile."""
        return max(height, width) > self.side

    def starts(self, length: int) -> list[int]:
        """Return where tiles begin along a side of the image, evenly spread, the last one flush with its end."""
        if length <= self.side:
            return [0]
        last = length - self.side
        steps = -(-last // (self.side - self.overlap))
        return [round(step * last / steps) for step in range(steps + 1)]


def fuse_in_tiles(
    network: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    a_B1HW: Tensor,
    b_B1HW: Tensor,
    text_BT: Tensor,
    balance_B: Tensor,
    tiles: Tiles,
) -> Tensor:
    """Fuse lumas tile by tile, blended linearly where tiles overlap: (B, 1, H, W), unclamped."""
    height, width = a_B1HW.shape[-2:]
    rows, columns = tiles.starts(height), tiles.starts(width)
    sum_B1HW = torch.zeros_like(a_B1HW, dtype=torch.float32)
    weight_HW = torch.zeros(height, width, device=a_B1HW.device)
    for top, ramp_H in zip(rows, _ramps(rows, height, tiles), strict=True):
        for left, ramp_W in zip(columns, _ramps(columns, width, tiles), strict=True):
            window = (..., slice(top, top + tiles.side), slice(left, left + tiles.side))
            ramp_HW = torch.outer(ramp_H, ramp_W).to(a_B1HW.device)
            sum_B1HW[window] += network(a_B1HW[window], b_B1HW[window], text_BT, balance_B).float() * ramp_HW
            weight_HW[window] += ramp_HW
    return sum_B1HW / weight_HW


def _ramps(starts: list[int], length: int, tiles: Tiles) -> list[Tensor]:
    """Return how much each tile counts along one side: less towards a neighbour, never less at the image's edge."""
    inside = torch.arange(min(tiles.side, length)) + 0.5
    rise = (inside / max(tiles.overlap, 1)).clamp(max=1)
    one = torch.ones_like(rise)
    return [(rise if start else one) * (rise.flip(0) if start != starts[-1] else one) for start in starts]
