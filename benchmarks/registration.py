"""How exact rigs are, and how well unaligned pairs are noticed, on real registered pairs with planted transforms.

    python benchmarks/registration.py rigs --sets msrs llvip          # accuracy of rigs
    python benchmarks/registration.py alarm                           # single pairs
    python benchmarks/registration.py verdict                         # archives
    python benchmarks/registration.py loss                            # what a rig costs a fused image
    python benchmarks/registration.py warp                            # milliseconds

Each prints a table in Markdown. Set OMP_NUM_THREADS=1: times are CPU seconds of one core.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

import upfusion
from upfusion.color import luma8
from upfusion.images import read_image
from upfusion.metrics import measure
from upfusion.registration.alignment import AlignmentScore, alignment_score
from upfusion.registration.coordinates import (
    Matrix,
    Size,
    concentric,
    corner_distance,
    distance,
    middle,
    resizing,
    similarity,
    translation,
)
from upfusion.registration.estimate import FINISHING, Estimate, estimate_from_views, refine
from upfusion.registration.rig import Rig, RigError
from upfusion.registration.verdict import archive_verdict
from upfusion.registration.views import PairOfViews, view
from upfusion.registration.warp import RigWarp

Pixels = NDArray[Any]
Pair = tuple[Pixels, Pixels]
SETS = (
    *("msrs", "llvip", "m3fd", "m3svd", "roadscene", "tno", "vifb", "fmb", "nir_country", "rgb_nir", "sar_optical"),
    *("harvard/ct_mri", "harvard/pet_mri", "harvard/spect_mri"),
)
RIG_SETS = ("msrs", "llvip", "m3fd", "m3svd", "roadscene", "tno", "nir_country", "rgb_nir", "sar_optical")
LOSS_METRICS = ("vif_balanced", "qp")
CONDITIONS = ("aligned", "4 px", "8 px", "16 px", "32 px", "3 %", "5 %", "2 deg", "4 deg", "other")


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=("rigs", "alarm", "verdict", "loss", "warp"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="+")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--pairs", type=int, default=16)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    if given.table == "rigs":
        rigs(given.data, given.sets or RIG_SETS, given.trials, given.pairs)
    elif given.table == "alarm":
        alarm(given.data, given.sets or SETS)
    elif given.table == "verdict":
        verdicts(given.data, given.sets or (*RIG_SETS[:7], "vifb"))
    elif given.table == "loss":
        losses(given.data, given.sets or RIG_SETS[:5], given.pairs)
    else:
        warping()


def rigs(data: Path, sets: Sequence[str], trials: int, count: int) -> None:
    """Print how far estimated rigs are from the planted transform, in pixels at 640, over the overlap.

    `same`: the set's own residual is taken from the pairs that the rig was estimated from. `held out`: from the others.
    """
    print("| set | pairs / held out | same: median, worst | held out: median, worst | corners | > 10 px | s |")
    print("|---|---|---|---|---|---|---|")
    for name in sets:
        pairs = one_size(load(data, name))
        chosen = pairs[:: max(1, len(pairs) // count)][:count]
        if len(pairs) - len(chosen) < 6 and len(pairs) >= 12:
            chosen = pairs[::2] if len(pairs) < 19 else [pair for n, pair in enumerate(pairs) if n % 3 or n == 0]
        ids = {id(pair) for pair in chosen}
        others = [pair for pair in pairs if id(pair) not in ids][:32]
        print(row_of_rigs(name, chosen, others, trials), flush=True)


def row_of_rigs(name: str, chosen: Sequence[Pair], others: Sequence[Pair], trials: int) -> str:
    """Return a line of the table for one set."""
    own = [own_residual(pairs) if len(pairs) >= 4 else None for pairs in (chosen, others)]
    errors: list[list[float]] = [[], [], []]
    gross, seconds = 0, []
    for trial in range(trials):
        planted = [plant(pair, trial) for pair in chosen]
        truth, size = planted[0][1], planted[0][0][0].shape[1::-1]
        started = time.process_time()
        try:
            rig = estimate_from_views([(view(a), view(b)) for (a, b), _ in planted])
        except RigError as error:
            print(f"{name}, trial {trial}: {error}")
            gross += 1
            continue
        seconds.append(time.process_time() - started)
        for column, residual in enumerate(own):
            if residual is not None:
                off = distance(residual @ truth, rig.matrix, size, rig.b_size) * 640 / max(size)
                errors[column].append(off)
                gross += column == 0 and off > 10
        if own[0] is not None:
            errors[2].append(corner_distance(own[0] @ truth, rig.matrix, size) * 640 / max(size))
    cells = [f"{np.median(e):.2f}, {max(e):.2f}" if e else "-" for e in errors]
    held = len(others) if len(others) >= 4 else 0
    return f"| {name} | {len(chosen)} / {held} | {' | '.join(cells)} | {gross} of {trials} | {np.median(seconds):.1f} |"


def own_residual(pairs: Sequence[Pair]) -> Matrix:
    """Return the transform by which a set as published is off its own registration."""
    views = [(view(a), view(b)) for a, b in pairs]
    a, b = views[0]
    return refine(views, Estimate(concentric(a.size, b.size), 0.0), FINISHING).matrix


def plant(pair: Pair, trial: int) -> tuple[Pair, Matrix]:
    """Return a pair whose B was moved, and the transform from the moved B's pixels to A's."""
    a, b = pair
    truth = planted_transform(trial, a.shape[1::-1])
    size = a.shape[1::-1]
    if trial % 3 == 2:  # B at half size
        half = (size[0] // 2, size[1] // 2)
        truth = truth @ resizing(half, size)
        size = half
        b = cv2.GaussianBlur(b, (0, 0), 0.7)
    moved = cv2.warpPerspective(b, np.linalg.inv(truth), size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return (a, np.asarray(moved)), truth


def planted_transform(trial: int, size: Size) -> Matrix:
    """Return a transform of scale 0.8 to 1.25, rotation 5 degrees, shift 10 %, perspective 2 %; a trial's own."""
    rng = np.random.default_rng(trial)
    scale, degrees = np.exp(rng.uniform(np.log(0.8), np.log(1.25))), rng.uniform(-5, 5)
    x, y = rng.uniform(-0.1, 0.1, 2) * max(size)
    matrix = translation(x, y) @ similarity(scale, degrees, middle(size))
    tilt = np.eye(3)
    tilt[2, :2] = rng.uniform(-0.02, 0.02, 2) / (max(size) / 2)
    centre = translation(*middle(size))
    return centre @ tilt @ np.linalg.inv(centre) @ matrix


def alarm(data: Path, sets: Sequence[str]) -> None:
    """Print the share of pairs that are reported as unaligned, by what was done to them."""
    print(f"| set | pairs | {' | '.join(CONDITIONS)} | ms |")
    print("|---|---|" + "---|" * (len(CONDITIONS) + 1))
    total: dict[str, list[bool]] = {condition: [] for condition in CONDITIONS}
    for name in sets:
        pairs = load(data, name)
        pairs = pairs[:: max(1, len(pairs) // 60)][:60]
        found: dict[str, list[AlignmentScore | None]] = {condition: [] for condition in CONDITIONS}
        seconds = []
        for condition, (a, b) in moved_pairs(pairs):
            started = time.process_time()
            found[condition].append(alignment_score(a, b))
            seconds.append(time.process_time() - started)
        flagged = {name: [bool(score and score.misaligned) for score in scores] for name, scores in found.items()}
        shares = " | ".join(f"{np.mean(flags):.0%}" for flags in flagged.values())
        print(f"| {name} | {len(pairs)} | {shares} | {1000 * np.median(seconds):.0f} |", flush=True)
        if "harvard" not in name:
            for condition, flags in flagged.items():
                total[condition] += flags
    print(
        f"| all but Harvard | {len(total['aligned'])} | "
        + " | ".join(f"{np.mean(f):.1%}" for f in total.values())
        + " | |"
    )


def moved_pairs(pairs: Sequence[Pair]) -> Iterator[tuple[str, Pair]]:
    """Yield every pair as it is and displaced in every way."""
    rng = np.random.default_rng(7)
    for number, (a, b) in enumerate(pairs):
        direction, sign = rng.uniform(0, 2 * np.pi), rng.choice([-1, 1])
        size = (a.shape[1], a.shape[0])
        for condition in CONDITIONS:
            if condition == "aligned":
                yield condition, (a, b)
            elif condition == "other":
                other = pairs[(number + len(pairs) // 2) % len(pairs)][1]
                yield condition, (a, cv2.resize(other, size))
            else:
                moved = displacement(condition, direction, float(sign), size)
                yield condition, (a, cv2.warpPerspective(b, moved, size, borderMode=cv2.BORDER_REFLECT))


def displacement(condition: str, direction: float, sign: float, size: Size) -> Matrix:
    """Return the transform that a condition stands for; pixels are those of an image 640 pixels wide."""
    amount, unit = condition.split()
    if unit == "px":
        length = float(amount) * max(size) / 640
        return translation(length * np.cos(direction), length * np.sin(direction))
    if unit == "%":
        return similarity(1 + sign * float(amount) / 100, 0.0, middle(size))
    return similarity(1.0, sign * float(amount), middle(size))


def verdicts(data: Path, sets: Sequence[str], seeds: int = 3) -> None:
    """Print how many draws of eight pairs are called unaligned, by what was done to them."""
    conditions = ("aligned", "8 px", "24 px", "2 deg", "3 %")
    print(f"| set | {' | '.join(conditions)} | gain as shipped | s |")
    print("|---|" + "---|" * (len(conditions) + 2))
    for name in sets:
        pairs = one_size(load(data, name))
        called: dict[str, list[bool]] = {condition: [] for condition in conditions}
        gains, seconds = [], []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            drawn = [pairs[index] for index in rng.choice(len(pairs), min(8, len(pairs)), replace=False)]
            direction, sign = rng.uniform(0, 2 * np.pi), float(rng.choice([-1, 1]))
            for condition in conditions:
                views = [(view(a), view(moved(b, condition, direction, sign))) for a, b in drawn]
                started = time.process_time()
                verdict = archive_verdict(views)
                seconds.append(time.process_time() - started)
                called[condition].append(verdict.unaligned)
                if condition == "aligned":
                    gains.append(verdict.gain)
        cells = " | ".join(f"{sum(flags)} of {len(flags)}" for flags in called.values())
        print(f"| {name} | {cells} | {min(gains):.2f} to {max(gains):.2f} | {np.median(seconds):.2f} |", flush=True)


def moved(b: Pixels, condition: str, direction: float, sign: float) -> Pixels:
    """Return B displaced by a condition."""
    if condition == "aligned":
        return b
    size = (b.shape[1], b.shape[0])
    transform = displacement(condition, direction, sign, size)
    return np.asarray(cv2.warpPerspective(b, transform, size, borderMode=cv2.BORDER_REFLECT))


def losses(data: Path, sets: Sequence[str], count: int, judged: int = 6) -> None:
    """Print what two metrics of pairs lose that were made unregistered, with a rig of their own and without.

    `own`: as the rows of a job have them, against A and B as they were fused, relative to the pair as published. `B`:
    against A and the registered B, which is the same one, warped by the planted transform and the set's own residual;
    relative to the pair with that B. All in the field that both cameras see. `alarm`: how many pairs are reported.
    """
    fuser = upfusion.load("nano")
    columns = [f"{metric}, own: rig | {metric}, B: rig, without" for metric in LOSS_METRICS]
    print(f"| set | {' | '.join(columns)} | alarm: rig, without |")
    print("|---|" + "---|" * (2 * len(LOSS_METRICS) + 1))
    for name in sets:
        pairs = one_size(load(data, name))
        chosen = pairs[:: max(1, len(pairs) // count)][:count]
        planted = [plant(pair, 0) for pair in chosen]
        unregistered, size = [pair for pair, _ in planted], chosen[0][0].shape[1::-1]
        rig = estimate_from_views(views_of(unregistered))
        truth = Rig(size, rig.b_size, own_residual(chosen) @ planted[0][1])
        by_truth, by_rig, box = RigWarp(truth, "a"), RigWarp(rig, "a"), shared_box(RigWarp(truth), RigWarp(rig))
        own: dict[str, list[list[float]]] = {kind: [] for kind in ("published", "rig")}
        against: dict[str, list[list[float]]] = {kind: [] for kind in ("registered", "rig", "without")}
        alarms = {"rig": 0, "without": 0}
        for (_, published), (a, b) in list(zip(chosen, unregistered, strict=True))[:judged]:
            registered = by_truth.b(b)[box]
            sources = {
                "published": published[box], "registered": registered, "rig": by_rig.b(b)[box], "without": b[box],
            }  # fmt: skip
            for kind, seen in sources.items():
                fused = fuser.fuse(a[box], seen, task="ir_visible")
                if kind in own:
                    own[kind].append(measured(a[box], seen, fused))
                if kind in against:
                    against[kind].append(measured(a[box], registered, fused))
                if kind in alarms:
                    score = alignment_score(a[box], seen)
                    alarms[kind] += bool(score and score.misaligned)
        shares = [
            np.mean(values[kind], axis=0) / np.mean(values[base], axis=0) - 1
            for values, kind, base in (
                (own, "rig", "published"), (against, "rig", "registered"), (against, "without", "registered"),
            )
        ]  # fmt: skip
        cells = [
            f"{of_own:+.1%} | {of_rig:+.1%}, {without:+.1%}" for of_own, of_rig, without in zip(*shares, strict=True)
        ]
        reported = f"{alarms['rig']}, {alarms['without']} of {min(len(chosen), judged)}"
        print(f"| {name} | {' | '.join(cells)} | {reported} |", flush=True)


def shared_box(*warps: RigWarp) -> tuple[slice, slice]:
    """Return rows and columns that all warps keep."""
    boxes = np.array([(left, top, left + width, top + height) for left, top, width, height in (w.box for w in warps)])
    (left, top), (right, bottom) = boxes[:, :2].max(0), boxes[:, 2:].min(0)
    return np.s_[top:bottom, left:right]


def measured(a: Pixels, b: Pixels, fused: Pixels) -> list[float]:
    """Return the metrics of a fused image."""
    luma_a, luma_b, luma_f = (torch.from_numpy(luma8(image))[None, None] for image in (a, b, fused))
    return [float(values[0] or 0) for values in measure(luma_a, luma_b, luma_f, LOSS_METRICS).values()]


def warping() -> None:
    """Print what warping a pair costs."""
    rng, size = np.random.default_rng(0), (640, 480)
    rig = Rig(size, size, planted_transform(1, size))
    print("| B | ms per 640x480 pair |")
    print("|---|---|")
    for kind, shape, depth in (("8 bits grey", (480, 640), np.uint8), ("16 bits grey", (480, 640), np.uint16),
                               ("8 bits colour", (480, 640, 3), np.uint8)):  # fmt: skip
        b = rng.integers(0, np.iinfo(depth).max, shape, depth)
        warp = RigWarp(rig)
        started = time.process_time()
        for _ in range(20):
            warp.b(b)
        print(f"| {kind} | {1000 * (time.process_time() - started) / 20:.1f} |")


def load(data: Path, name: str) -> list[Pair]:
    """Return the pairs of a set."""
    pairs = []
    for folder in sorted(path for path in (data / name).rglob("*") if path.name in ("visible", "a")):
        partner = folder.with_name("infrared" if folder.name == "visible" else "b")
        partners = {path.relative_to(partner).with_suffix(""): path for path in partner.rglob("*.*")}
        files = [path for path in sorted(folder.rglob("*.*")) if path.relative_to(folder).with_suffix("") in partners]
        pairs += [(read_image(path), read_image(partners[path.relative_to(folder).with_suffix("")])) for path in files]
    return pairs


def one_size(pairs: Sequence[Pair]) -> list[Pair]:
    """Return pairs as if one rig had taken them: resized to the size of the first."""
    size = pairs[0][0].shape[1::-1]
    return [(_sized(a, size), _sized(b, size)) for a, b in pairs]


def _sized(image: Pixels, size: Size) -> Pixels:
    return image if image.shape[1::-1] == size else cv2.resize(image, size)


def views_of(pairs: Sequence[Pair]) -> list[PairOfViews]:
    """Return pairs as registration takes them."""
    return [(view(a), view(b)) for a, b in pairs]


if __name__ == "__main__":
    main()
