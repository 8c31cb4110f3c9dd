"""The tables of `steering.py`: how a model answers balances and texts, what that costs, and whether it flickers."""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from benchmarks.results.sets import DATA
from pipelines.demo.street import draw_moment
from pipelines.evaluate.response import Crop
from pipelines.evaluate.steering import DIRECTIONS, NOTHING, UNRELATED, Answer
from pipelines.evaluate.tables import markdown_table
from upfusion.color_tensors import luma
from upfusion.flicker import change_ratio, flicker
from upfusion.images import read_image
from upfusion.model import FusionModel
from upfusion.network import UPFusion

Measured = Mapping[str, Tensor]

ABOUT = """
Written by `python -m benchmarks.results steering`. Measured on the middle {side}x{side} pixels of all
{pairs} test pairs, on the luma that the network gives, before colour is put back. *Share of B* is
`vif_b / (vif_a + vif_b)`; *hot targets* are where the brighter source exceeds its mean by 1.5 standard deviations
([upfusion/response.py](../upfusion/response.py)).
"""

REPEATS = 30
"""Forward passes with and without text, in turns; of each the fastest counts, as the machine is shared."""


def response_table(crops: Sequence[Crop], at_balance: Mapping[float, Measured]) -> str:
    """Return the share of B by set and balance, and on how many pairs it rises."""
    rows = []
    for name, index in _sets(crops):
        shares = [measured["share_of_b"][index] for measured in at_balance.values()]
        means = [one.nanmean().item() for one in shares]
        rising = all(one < other for one, other in pairwise(means))
        change = shares[-1] - shares[0]
        of_pairs = (change > 0).float().mean().item()
        cells = [*(f"{mean:.3f}" for mean in means), f"{means[-1] - means[0]:.3f}", "yes" if rising else "no"]
        rows.append([name, crops[index[0]].task, str(len(index)), *cells, f"{of_pairs:.0%}"])
    header = ["set", "task", "pairs", *(f"{balance:g}" for balance in at_balance)]
    return "#### Share of B by balance\n\n" + markdown_table(
        [*header, "-1 to 1", "rises at every step", "pairs that rise from -1 to 1"], rows
    )


def response_details(
    crops: Sequence[Crop], at_balance: Mapping[float, Measured], of_phrase: Mapping[str, Measured]
) -> str:
    """Return vif_a, vif_b and the mean luma of hot targets, by set, balance and phrase."""
    settings = {f"{balance:g}": measured for balance, measured in at_balance.items()} | {
        f"*{phrase}*": measured for phrase, measured in of_phrase.items()
    }
    rows = []
    for name, index in _sets(crops):
        cells = []
        for measured in settings.values():
            vif_a, vif_b, hot = (measured[key][index].nanmean().item() for key in ("vif_a", "vif_b", "hot"))
            cells.append(f"{vif_a:.2f} / {vif_b:.2f} / {hot:.0f}")
        rows.append([name, *cells])
    table = markdown_table(["set", *settings], rows)
    title = "vif_a / vif_b / mean luma of hot targets (0 to 255), by balance and by phrase"
    return f"<details><summary>{title}</summary>\n\n{table}\n</details>"


def answers_table(answers: Sequence[Answer]) -> str:
    """Return how many sentences move the result the right way, by direction."""
    rows = []
    for direction in (*DIRECTIONS, UNRELATED):
        some = [answer for answer in answers if answer.direction == direction]
        if not some:
            continue
        right, clear = (sum(getattr(answer, name) for answer in some) for name in ("right", "clear"))
        moves = [_move(answer) for answer in some]
        cells = [f"{right} ({right / len(some):.0%})", "" if direction == UNRELATED else f"{clear}"]
        rows.append([direction, str(len(some)), *cells, f"{statistics.median(moves):.2f}"])
    asking = [answer for answer in answers if answer.direction != UNRELATED]
    right = sum(answer.right for answer in asking)
    clear = sum(answer.clear for answer in asking)
    rows.append(["all that ask", str(len(asking)), f"{right} ({right / len(asking):.0%})", f"{clear}", ""])
    return ANSWERS.strip().format(nothing=NOTHING) + "\n\n" + markdown_table(ANSWERS_HEADER, rows)


def general_table(crops: Sequence[Crop], own: Measured, general: Measured) -> str:
    """Return what the general prompt costs beside each task's own."""
    rows = []
    for name, index in _sets(crops):
        one, other = (_harmonic(measured)[index].nanmean().item() for measured in (own, general))
        rows.append([name, f"{one:.4f}", f"{other:.4f}", f"{other - one:+.4f}"])
    table = markdown_table(["set", "own prompt", "general", "difference"], rows)
    title = "#### The general prompt for every task\n\n`vif_balanced` with each task's prompt and with `general`."
    return f"{title}\n\n{table}"


def cost_table(model: FusionModel) -> str:
    """Time the network with text and gate, and without both, in turns on one thread."""
    config = model.checkpoint.config
    plain = UPFusion(replace(config, text=False, text_gate=False)).eval()
    rows = []
    for height, width in ((480, 640), (192, 192)):
        a, b = torch.rand(2, 1, 1, height, width)
        text_BT, balance_B = model.guidance.embed("ir_visible")[None].float(), torch.zeros(1)
        seconds = {"with": [], "without": []}
        with torch.inference_mode():
            for _ in range(REPEATS):
                for name, network in (("with", model.network), ("without", plain)):
                    start = time.process_time()
                    network(a, b, text_BT, balance_B)
                    seconds[name].append(time.process_time() - start)
        fastest = {name: 1000 * min(times) for name, times in seconds.items()}
        more = fastest["with"] / fastest["without"] - 1
        rows.append([f"{height}x{width}", *(f"{fastest[name]:.1f}" for name in seconds), f"{more:+.1%}"])
    table = markdown_table(["size", "with text, ms", "without, ms", "more"], rows)
    return (
        "#### What text costs\n\nThe network with its reader, order and gate of channels, and the same without, "
        f"in turns on one thread: CPU time of the fastest of {REPEATS} passes.\n\n{table}"
    )


def flicker_table(model: FusionModel) -> str:
    """Return how far a result changes where its sources change little: neighbouring frames, and noise of one level."""
    rows = []
    for name, a, b in _recordings():
        for balance in (-1.0, 0.0, 1.0):
            f = _fuse(model, a, b, balance)
            # The same frame twice, with noise of one grey level between.
            noisy_a, noisy_b = ((x[:1] + torch.randn_like(x[:1])).clamp(0, 255) for x in (a, b))
            pair_a, pair_b = torch.cat([a[:1], noisy_a]), torch.cat([b[:1], noisy_b])
            noise = change_ratio(pair_a, pair_b, _fuse(model, pair_a, pair_b, balance)).item()
            figures = [flicker(a, b, f).mean().item(), change_ratio(a, b, f).mean().item(), noise]
            rows.append([name, str(len(a)), f"{balance:g}", *(f"{value:.3f}" for value in figures)])
    header = ["frames of", "frames", "balance", "flicker ↓", "change ratio", "change ratio, noise"]
    return FLICKER.strip() + "\n\n" + markdown_table(header, rows)


def _recordings() -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield frames one after the other, as lumas (N, 1, H, W) in 0..255: clips of M3SVD, and the demo's street."""
    visible = DATA / "m3svd" / "test" / "visible"
    for clip in sorted({path.stem.rsplit("_", 1)[0] for path in visible.iterdir()}):
        files = sorted(visible.glob(f"{clip}_*"))
        a = [_luma(read_image(path)) for path in files]
        b = [_luma(read_image(path.parent.parent / "infrared" / path.name)) for path in files]
        yield f"M3SVD {clip}, 8 apart", torch.stack(a)[:, None], torch.stack(b)[:, None]
    moments = [draw_moment(0, second / 10, 320, 240) for second in range(10)]
    yield "the demo's street, 10/s", *(torch.stack([_luma(one[side]) for one in moments])[:, None] for side in (0, 1))


def _luma(pixels: "np.ndarray") -> Tensor:
    return 255 * luma(torch.from_numpy(np.ascontiguousarray(pixels).copy()))


def _fuse(model: FusionModel, a: Tensor, b: Tensor, balance: float) -> Tensor:
    text_T = model.guidance.embed("ir_visible").float()
    fused = [
        model.fuse_lumas(one_a[None] / 255, one_b[None] / 255, text_T[None], torch.tensor([balance]))
        for one_a, one_b in zip(a, b, strict=True)
    ]
    return 255 * torch.cat(fused).float().clamp(0, 1)


def _sets(crops: Sequence[Crop]) -> Iterator[tuple[str, list[int]]]:
    for name in dict.fromkeys(crop.set for crop in crops):
        yield name, [row for row, crop in enumerate(crops) if crop.set == name]


def _harmonic(measured: Measured) -> Tensor:
    a, b = measured["vif_a"], measured["vif_b"]
    return 2 * a * b / (a + b)


def _move(answer: Answer) -> float:
    if answer.direction == UNRELATED:
        return max(abs(move) for move in answer.moves.values())
    return answer.moves[answer.direction]


ANSWERS_HEADER = ["direction", "sentences", "right", "right and clear", "median move, in smallest steps"]

ANSWERS = """
#### Sentences never seen in training

[paraphrases.tsv](../benchmarks/results/paraphrases.tsv) has sentences that no network and no reader learned from.
Each is judged by the mean over 20 pairs of all sets, their middle 128x128 pixels: `more_a` and `more_b` by the share of
B, `hot` by the luma of hot targets, `dark` by the luma of the darkest quarter, `quiet` by the grain of the flattest.
*Right*: it moves the right way; *clear*: by at least {nothing} of the smallest step that can be asked for (a balance of
.3, .5 of the other wishes). An unrelated sentence is right where it moves none of the four by that much. Nothing counts
as moved in a direction in which the model takes no step at all.
"""

FLICKER = """
#### Small changes of the sources

`flicker` is the change between neighbouring frames that neither source explains, in grey levels; the change ratio is
the mean change of the result over that of the source that changes more
([upfusion/flicker.py](../upfusion/flicker.py)): about 1 or less is steady. The last column has noise of one grey level
on one frame instead of the next frame.
"""
