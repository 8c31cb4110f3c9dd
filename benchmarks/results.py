"""Write docs/results.md: what this project claims, measured.

    make results        or: python benchmarks/results.py [FOLDER]

FOLDER (`results`) keeps every run, so that the same command resumes where it stopped. The pairs and the images of other
methods lie beside a checkout on development machines (`../shared`); they are not part of the project.
"""

import csv
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from jobs.console.ablate import AblationLine
from jobs.console.evaluate import EvaluationLine
from jobs.terminal import quiet
from pipelines.ablate.config import AblateConfig
from pipelines.ablate.job import ablate, plan_ablation
from pipelines.ablate.outcome import Ablation, parts_table, prompts_table
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

ROOT = Path(__file__).resolve().parents[1]
SHARED = (ROOT.parent / "shared").resolve()
DATA, PEERS = SHARED / "data", SHARED / "peers"
PAGE, PICTURES = ROOT / "docs" / "results.md", ROOT / "docs" / "results"

INFRARED = ("msrs", "llvip", "m3fd", "roadscene", "tno", "fmb", "vifb", "m3svd", "llvip_half")
MEDICAL = {
    f"harvard/{name}": name.removesuffix("_cddfuse") for name in ("ct_mri", "pet_mri", "spect_mri", "pet_mri_cddfuse")
}
UNSEEN = {"nir_country": "nir_visible", "rgb_nir": "nir_visible", "sar_optical": "sar_optical"}
ABLATED = ("msrs", "llvip", "roadscene", *list(MEDICAL)[:3])
TRAINED_ON = ("llvip=0.5", "llvip_half=3", "roadscene", "m3svd=2.5")

COLUMNS = ("vif_balanced", "ssim_balanced", "qp", "vif", "ssim", "qabf", "mi", "nabf")
ABLATION_METRICS = ("vif", "vif_balanced", "ssim", "ssim_balanced", "qabf", "qp")

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


def main() -> None:
    """Carry out what is not there yet, and write the page."""
    if not DATA.is_dir():
        sys.exit(f"{DATA} is not there: the page needs the pairs and images that lie beside a development checkout")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "results").resolve()
    tasks = dict.fromkeys(INFRARED, "ir_visible")
    groups = {
        "Infrared + visible": run_evaluation(folder / "infrared", tasks),
        "CT, PET and SPECT + MRI": run_evaluation(folder / "medical", MEDICAL),
        "Modalities that neither the paper nor the training has": run_evaluation(folder / "unseen", UNSEEN),
    }
    ablation = run_ablation(folder / "ablation")
    PAGE.write_text(write_page(groups, ablation), encoding="utf-8")
    PICTURES.mkdir(exist_ok=True)
    for name, evaluation in zip(("infrared", "medical", "unseen"), groups.values(), strict=True):
        for picture in ("differences_vif_balanced", "cost_vif_balanced"):
            data = Path(evaluation.folder.pictures, f"{picture}.png").read_bytes()
            (PICTURES / f"{name}_{picture}.png").write_bytes(data)
    from steering import write_into_page  # here, as it imports this module

    write_into_page("tiny")
    sys.stdout.write(f"wrote {PAGE}\n")


def run_evaluation(out: Path, tasks: dict[str, str]) -> Evaluation:
    """Compare `tiny`, every method with images of one of the sets, and the baselines, with all metrics."""
    peers = {
        row["method"] for row in csv.DictReader((PEERS / "peers.csv").read_text().splitlines()) if row["set"] in tasks
    }
    # Those with an image of every pair first: SAGE and ALMFnet.
    ordered = sorted(peers, key=lambda name: (name not in ("SAGE", "ALMFnet"), name))
    config = EvaluateConfig(
        sets=sets_of(tasks),
        methods=("tiny", *(f"{name}={PEERS / name}" for name in ordered), *BASELINES),
        out=str(out),
        metrics="all",
        no_tracking=True,
    )
    plan = plan_evaluation(config)
    with quiet(verbose=False) as terminal, EvaluationLine(terminal) as line:
        return evaluate(plan, line.update)


def run_ablation(out: Path) -> Ablation:
    """Train what is missing and compare it; the prompts that are exchanged are those of the shipped `tiny`."""
    tasks = dict.fromkeys(INFRARED, "ir_visible") | MEDICAL
    config = AblateConfig(
        sets=sets_of({name: tasks[name] for name in ABLATED}),
        data=tuple(f"{DATA / root}" for root in TRAINED_ON),
        val=str(DATA / "msrs"),
        recipe=str(ROOT / "benchmarks" / "ablation.yaml"),
        model="tiny",
        out=str(out),
        metrics=ABLATION_METRICS,
        no_tracking=True,
    )
    plan = plan_ablation(config)
    with quiet(verbose=False) as terminal, AblationLine(terminal) as line:
        return ablate(plan, line.update, line.on_training)


def sets_of(tasks: dict[str, str]) -> tuple[str, ...]:
    """Name the sets as `upfusion evaluate` takes them."""
    return tuple(f"{name}:{task}={DATA / name}" for name, task in tasks.items())


def write_page(groups: dict[str, Evaluation], ablation: Ablation) -> str:
    """Put the page together."""
    pairs = sum(len(evaluation.plan.pairs) for evaluation in groups.values())
    sets = sum(len(evaluation.plan.sets) for evaluation in groups.values())
    sections = [
        "# Results",
        (
            f"Written by `make results` (`benchmarks/results.py`) at commit {(git_commit() or 'unknown')[:12]}, on "
            f"{os.cpu_count()} CPU cores without a GPU: {pairs} test pairs of {sets} sets. Do not edit; the command "
            "writes it anew."
        ),
        ABOUT.strip(),
    ]
    for name, (title, evaluation) in zip(("infrared", "medical", "unseen"), groups.items(), strict=True):
        sections += [f"## {title}", *tables_of(evaluation)]
        sections.append(f"![Differences to tiny in vif_balanced](results/{name}_differences_vif_balanced.png)")
    everything = [one for evaluation in groups.values() for one in evaluation.comparisons]
    sections += ["## Beside the published figures", published_table(everything), NOT_COMPARABLE.strip()]
    sections += ["## Ablation", ABLATION.strip(), deeper(parts_table(ablation)), deeper(prompts_table(ablation))]
    sections += ["## Costs", costs_table(groups["Infrared + visible"]), COSTS.strip()]
    sections.append("![Cost against vif_balanced](results/infrared_cost_vif_balanced.png)")
    sections += ["## Detection", DETECTION.strip()]
    return "\n\n".join(section.strip() for section in sections) + "\n"


def tables_of(evaluation: Evaluation) -> Iterable[str]:
    """One table of sets and methods for each balanced metric, then the comparisons of every set."""
    for metric in COLUMNS[:2]:
        yield deeper(markdown_overview(overview(evaluation.comparisons, metric)))
    yield f"<details><summary>Every set</summary>\n\n{deeper(markdown(evaluation.comparisons, COLUMNS))}\n</details>"


def deeper(text: str) -> str:
    """Put headings one level down."""
    return "\n".join(f"#{line}" if line.startswith("#") else line for line in text.strip().splitlines())


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


ABOUT = """
`tiny` is the checkpoint that ships. *SAGE* and *ALMFnet* were run with their authors' released weights on every pair;
the other methods' images are those that their authors or re-implementers published, so they cover some pairs only and
are compared on these. *mean*, *max* and *laplacian* need no network; *a* and *b* are copies of one source. Every metric
is defined in [metrics.md](metrics.md).

Measured is the luma of the image that a user gets. `tiny`, *mean*, *max* and *laplacian* leave images in A's colour,
whose range bounds the luma where A is saturated (PET and SPECT, street lamps); the images of the other methods are luma
alone, without that bound. Figures of `tiny` on luma alone stand in [training.md](training.md): on PET + MRI its `qp` is
.593 there and its `vif_balanced` .230.

How to read it: `vif_balanced` and `ssim_balanced` are harmonic means of both directions, which a copy of one source
does not raise; look at them first. `tiny` was trained with terms for what `qp`, `vif` and `vif_balanced` measure, and
test pairs were looked at when its recipe was chosen ([training.md](training.md)), so it is no blind test. Frames of one
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

ABLATION = """
Each variant was trained by `upfusion ablate` from random weights with the recipe of `benchmarks/ablation.yaml`: 600
steps of six 96x96 crops, one seed, one core, about 7 minutes. That is a seventh of the steps of the first `tiny` alone,
and three orders of magnitude less than the paper's training. Differences in the third decimal mean nothing with one
seed. The prompts that are exchanged are those of the shipped `tiny`.

For comparison, the paper's own table (Harvard; `qp` / `vif` / `ssim` as it defines them): without SCPM .5343 / .3046 /
.2645, without TCPM .5221 / .3016 / .2824, full .5665 / .3190 / .3639.
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


if __name__ == "__main__":
    main()
