"""The comparison of docs/results.md: what ships beside other methods and baselines, on all test pairs."""

import csv
import os
from collections.abc import Iterable
from pathlib import Path

from benchmarks.results.page import ABOUT, deeper, write_sections
from benchmarks.results.sets import INFRARED, MEDICAL, MODELS, PEERS, PICTURES, UNSEEN, sets_of
from jobs.console.evaluate import EvaluationLine
from jobs.terminal import quiet
from pipelines.checkpoints.describe import SIZES
from pipelines.cluster.git import git_commit
from pipelines.evaluate.comparison import overview
from pipelines.evaluate.config import EvaluateConfig
from pipelines.evaluate.figures.pictures import measured_cost
from pipelines.evaluate.job import evaluate
from pipelines.evaluate.outcome import Evaluation
from pipelines.evaluate.plan import plan_evaluation
from pipelines.evaluate.tables import markdown, markdown_overview, markdown_table
from upfusion.baselines import BASELINES
from upfusion.cost import cost_of_pass, count_parameters
from upfusion.presets import PRESETS

COLUMNS = ("vif_balanced", "ssim_balanced", "qp", "vif", "ssim", "qabf", "mi", "nabf")

# As a summary of the paper quotes its tables; SAGE and ALMFnet are what both can be measured on here.
PUBLISHED = (
    # metric, the paper's test set, ours, peer, the peer's figure, UP-Fusion's figure
    ("qp", "MSRS", ("msrs",), "SAGE", 0.5210, 0.5671),
    ("vif", "MSRS", ("msrs",), "SAGE", 0.4359, 0.4587),
    ("vif", "LLVIP", ("llvip",), "SAGE", 0.3590, 0.3817),
    ("vif", "M3FD", ("m3fd",), "SAGE", 0.4110, 0.4582),
    ("qp", "Harvard", tuple(MEDICAL)[:3], "ALMFnet", 0.5434, 0.5665),
    ("vif", "Harvard", tuple(MEDICAL)[:3], "ALMFnet", 0.3003, 0.3190),
)


def write(folder: Path) -> None:
    """Carry out the evaluations that are not there yet, and write their sections and pictures."""
    tasks = dict.fromkeys(INFRARED, "ir_visible")
    groups = {
        "## Infrared + visible": run_evaluation(folder / "infrared", tasks),
        "## CT, PET and SPECT + MRI": run_evaluation(folder / "medical", MEDICAL),
        "## Modalities that neither the paper nor the training has": run_evaluation(folder / "unseen", UNSEEN),
    }
    PICTURES.mkdir(exist_ok=True)
    sections = {}
    for name, (heading, evaluation) in zip(("infrared", "medical", "unseen"), groups.items(), strict=True):
        picture = f"![Differences to tiny in vif_balanced](results/{name}_differences_vif_balanced.png)"
        sections[heading] = "\n\n".join([*tables_of(evaluation), picture])
        for kind in ("differences_vif_balanced", "cost_vif_balanced"):
            data = Path(evaluation.folder.pictures, f"{kind}.png").read_bytes()
            (PICTURES / f"{name}_{kind}.png").write_bytes(data)
    everything = [one for evaluation in groups.values() for one in evaluation.comparisons]
    sections["## Beside the published figures"] = f"{published_table(everything)}\n\n{NOT_COMPARABLE.strip()}"
    picture = "![Cost against vif_balanced](results/infrared_cost_vif_balanced.png)"
    costs = costs_table(groups["## Infrared + visible"])
    sections["## Costs"] = f"{costs}\n\n{COSTS.strip()}\n\n{picture}"
    pairs = sum(len(evaluation.plan.pairs) for evaluation in groups.values())
    sets = sum(len(evaluation.plan.sets) for evaluation in groups.values())
    head = HEAD.format(commit=(git_commit() or "unknown")[:12], cores=os.cpu_count(), pairs=pairs, sets=sets)
    write_sections({ABOUT: f"{head.strip()}\n\n{READ.strip()}", "## Detection": DETECTION, **sections})


def run_evaluation(out: Path, tasks: dict[str, str]) -> Evaluation:
    """Compare what ships, every method with images of one of the sets, and the baselines, by COLUMNS."""
    peers = {
        row["method"] for row in csv.DictReader((PEERS / "peers.csv").read_text().splitlines()) if row["set"] in tasks
    }
    # Those with an image of every pair first: SAGE and ALMFnet.
    ordered = sorted(peers, key=lambda name: (name not in ("SAGE", "ALMFnet"), name))
    config = EvaluateConfig(
        sets=sets_of(tasks),
        methods=(*MODELS, *(f"{name}={PEERS / name}" for name in ordered), *BASELINES),
        out=str(out),
        metrics=COLUMNS,
        no_tracking=True,
    )
    plan = plan_evaluation(config)
    with quiet(verbose=False) as terminal, EvaluationLine(terminal) as line:
        return evaluate(plan, line.update)


def tables_of(evaluation: Evaluation) -> Iterable[str]:
    """One table of sets and methods for each balanced metric, then the comparisons of every set."""
    for metric in COLUMNS[:2]:
        yield deeper(markdown_overview(overview(evaluation.comparisons, metric)))
    yield f"<details><summary>Every set</summary>\n\n{deeper(markdown(evaluation.comparisons, COLUMNS))}\n</details>"


def published_table(comparisons: list) -> str:
    """Return the paper's figures beside ours of the same metric, on the pairs that there are here."""
    rows = []
    for metric, test_set, ours, peer, of_peer, of_paper in PUBLISHED:
        means = {}
        for method in (peer, "tiny"):
            main = [next(one for one in comparisons if one.set == name and method in one.methods) for name in ours]
            values = [(one.scores[method, metric].mean, one.scores[method, metric].pairs) for one in main]
            means[method] = sum(mean * pairs for mean, pairs in values) / sum(pairs for _, pairs in values)
        pairs = sum(next(one for one in comparisons if one.set == name).pairs for name in ours)
        here = f"{means[peer]:.4f} ({100 * (means[peer] / of_peer - 1):+.0f} %)"
        numbers = [f"{of_peer:.4f}", here, f"{of_paper:.4f}", f"{means['tiny']:.4f}"]
        rows.append([f"{test_set}, {metric}", peer, *numbers, str(pairs)])
    header = [
        "set, metric",
        "peer",
        "peer, published",
        "peer, here",
        "UP-Fusion, published",
        "`tiny`, here",
        "pairs here",
    ]
    return markdown_table(header, rows)


def costs_table(evaluation: Evaluation) -> str:
    """Return what each preset costs, and what fusing took here."""
    rows = []
    for name, config in PRESETS.items():
        flops = [f"{cost_of_pass(config, *size).flops / 1e9:,.0f}" for size in SIZES]
        rows.append([f"`{name}`", f"{count_parameters(config).total / 1e6:.1f} M", *flops, measured(evaluation, name)])
    rows += [[name, "", "", "", measured(evaluation, name)] for name in ("laplacian", "max", "mean")]
    sizes = [f"GFLOP at {height}x{width}" for height, width in SIZES]
    return markdown_table(["method", "parameters", *sizes, "ms per megapixel here"], rows)


def measured(evaluation: Evaluation, method: str) -> str:
    """Format the milliseconds per megapixel; empty where they were not measured."""
    cost = measured_cost(evaluation.rows, method)
    return "" if cost is None else f"{cost:,.1f}" if cost < 100 else f"{cost:,.0f}"


HEAD = """
Written by `make results` (`benchmarks/results/`); this part at commit {commit}, on {cores} CPU cores without a GPU:
{pairs} test pairs of {sets} sets. Do not edit; the command writes it anew.
"""

READ = """
`tiny` and `nano` are the checkpoints that ship. *SAGE* and *ALMFnet* were run with their authors' released weights on
every pair; the other methods' images are those that their authors or re-implementers published, so they cover some
pairs only and are compared on these. *mean*, *max* and *laplacian* need no network; *a* and *b* are copies of one
source. Every metric is defined in [metrics.md](metrics.md).

Measured is the luma of the image that a user gets. `tiny`, `nano`, *mean*, *max* and *laplacian* leave images in A's
colour, whose range bounds the luma where A is saturated and its chroma is kept (street lamps; for PET and SPECT the
default gives up saturation instead); the images of the other methods are luma alone, without that bound.

How to read it: `vif_balanced` and `ssim_balanced` are harmonic means of both directions, which a copy of one source
does not raise; look at them first. `tiny` was trained with terms for what `qp`, `vif`, `vif_balanced`, `ssim_balanced`
and gradients (`qabf`) measure, and `nano` to give what `tiny` gives ([training.md](training.md)). Everything was chosen
on five validation pairs; the README says how often test pairs were measured. Frames of one
recording are in several sets (m3fd, tno, m3svd), so they hold fewer independent scenes than pairs, and intervals are
too narrow there. No mark is corrected for the number of comparisons.
"""

NOT_COMPARABLE = """
Published figures are quoted from a summary of the paper (arXiv 2511.12432), whose text could not be had here. They
cannot be compared with `tiny` one to one:

- the paper's network has 136.9 M parameters and was trained on 12,025 pairs of LLVIP; `tiny` has 1.0 M and 180 pairs;
- the test splits here are small parts of the paper's (MSRS 21 of 361 pairs, another mix of day and night);
- the column *peer, here* says how far the measurement agrees: the same released weights, measured here on the pairs
  there are. `vif` comes near but on MSRS; `qp` as the toolbox of its authors computes it stays below the paper's for
  the same method, for a reason that is not known.
"""

COSTS = """
Milliseconds were taken while both cores worked, one copy of the network on each, on a shared machine: take them as an
upper bound. `base` and `paper` have no weights here and were not timed. What other methods cost is not known here, as
only their images are.
"""

DETECTION = """
`upfusion evaluate --detect WEIGHTS` finds pedestrians in A, B and every fused image. No weights of a detector could be
had on the machine that wrote this page, so there are no figures.
"""
