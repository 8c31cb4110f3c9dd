"""How a model answers balances and texts on pairs: in this process, on crops, as `upfusion.response` measures it.

Shape suffixes: N pairs, T text dimension, W wishes.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipelines.evaluate.sets import EvaluationSet
from upfusion.color_tensors import luma, to_device
from upfusion.images import read_image
from upfusion.metrics.vif import vif_per_source
from upfusion.model import FusionModel
from upfusion.response import RESPONSES, share_of_b
from upfusion.wishes import Wish

MEASURES = ("vif_a", "vif_b", "share_of_b", *RESPONSES)

BATCH = 16

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Crop:
    """The middle of a pair: lumas (H, W) in [0, 1]."""

    set: str
    task: str
    pair_id: str
    a: Tensor
    b: Tensor


@dataclass(frozen=True)
class Setting:
    """What a pair is fused with: the embedding (T,) of a text, None for its task's prompt, and a balance or a wish."""

    text: Tensor | None = None
    balance: float = 0.0
    wish: Wish | None = None
    """Instead of what is read from text and balance."""


def load_crops(sets: Iterable[EvaluationSet], side: int, limit: int | None = None) -> list[Crop]:
    """Read the middle `side` x `side` pixels, or what there is, of at most `limit` pairs of every set."""
    crops = []
    for one in sets:
        for row in one.pairs.slice(0, limit).to_pylist():
            a, b = (_middle(luma(to_device(read_image(row[uri]), CPU)), side) for uri in ("a_uri", "b_uri"))
            crops.append(Crop(one.name, row["task"], row["pair_id"], a, b))
    return crops


def cut(crop: Crop, side: int) -> Crop:
    """Return the middle `side` x `side` pixels of a crop, or what there is."""
    return replace(crop, a=_middle(crop.a, side), b=_middle(crop.b, side))


@torch.inference_mode()
def measure_response(model: FusionModel, crops: Sequence[Crop], setting: Setting) -> dict[str, Tensor]:
    """Fuse all crops with a setting and return every one of MEASURES, `(N,)` in the order of the crops."""
    measured = {name: torch.full((len(crops),), torch.nan) for name in MEASURES}
    for rows in _batches(crops):
        a, b = (torch.stack([getattr(crops[row], side) for row in rows])[:, None] for side in ("a", "b"))
        fused = _fuse(model, a, b, [crops[row].task for row in rows], setting)
        a8, b8, f8 = ((255 * x).round() for x in (a, b, fused.float().clamp(0, 1)))
        vif_a, vif_b = vif_per_source(a8, b8, f8).T
        values = {"vif_a": vif_a, "vif_b": vif_b, "share_of_b": share_of_b(vif_a, vif_b)}
        values |= {name: response(a8, b8, f8) for name, response in RESPONSES.items()}
        for name, of_batch in values.items():
            measured[name][rows] = of_batch
    return measured


def _fuse(model: FusionModel, a: Tensor, b: Tensor, tasks: Sequence[str], setting: Setting) -> Tensor:
    texts = [model.guidance.embed(task) if setting.text is None else setting.text for task in tasks]
    text_NT = torch.stack(texts).float()
    if setting.wish is None:
        return model.fuse_lumas(a, b, text_NT, torch.full((len(a),), setting.balance))
    wish_NW = torch.tensor([setting.wish] * len(a), dtype=torch.float32)
    fused: Tensor = model.network(a, b, text_NT, wish_BW=wish_NW)
    return fused


def _middle(image: Tensor, side: int) -> Tensor:
    top, left = (max(0, (length - side) // 2) for length in image.shape)
    return image[top : top + side, left : left + side]


def _batches(crops: Sequence[Crop]) -> Iterable[list[int]]:
    """Yield the rows of crops of one size, some at a time."""
    by_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row, crop in enumerate(crops):
        by_size[tuple(crop.a.shape)].append(row)
    for rows in by_size.values():
        for start in range(0, len(rows), BATCH):
            yield rows[start : start + BATCH]
