"""The ablation of docs/results.md: variants of the network without one part, trained alike, and exchanged prompts."""

from pathlib import Path

from benchmarks.results.page import deeper, write_sections
from benchmarks.results.sets import DATA, INFRARED, MEDICAL, TRAINED_ON, sets_of
from jobs.console.ablate import AblationLine
from jobs.terminal import quiet
from pipelines.ablate.config import AblateConfig
from pipelines.ablate.job import ablate, plan_ablation
from pipelines.ablate.outcome import parts_table, prompts_table

RECIPE = Path(__file__).with_name("ablation.yaml")
SETS = ("msrs", "llvip", "roadscene", *list(MEDICAL)[:3])
METRICS = ("vif", "vif_balanced", "ssim", "ssim_balanced", "qabf", "qp")


def write(folder: Path) -> None:
    """Train what is missing, compare it, and write the section; the prompts that are exchanged are those of `tiny`."""
    tasks = dict.fromkeys(INFRARED, "ir_visible") | MEDICAL
    config = AblateConfig(
        sets=sets_of({name: tasks[name] for name in SETS}),
        data=tuple(f"{DATA / root}" for root in TRAINED_ON),
        val=str(DATA / "msrs"),
        recipe=str(RECIPE),
        model="tiny",
        out=str(folder / "ablation"),
        metrics=METRICS,
        no_tracking=True,
    )
    plan = plan_ablation(config)
    with quiet(verbose=False) as terminal, AblationLine(terminal) as line:
        ablation = ablate(plan, line.update, line.on_training)
    tables = (deeper(table(ablation)) for table in (parts_table, prompts_table))
    write_sections({"## Ablation": "\n\n".join([ABOUT.strip(), *tables])})


ABOUT = """
Each variant was trained by `upfusion ablate` from random weights with the recipe of
`benchmarks/results/ablation.yaml`, which is that of `tiny` but for its length: 600 steps of six 128x128 crops, one
seed, one core. That is a thirty-fifth of the steps of `tiny`, and three orders of magnitude less than the paper's
training. Differences in the third decimal mean nothing with one seed. The prompts that are exchanged are those of the
shipped `tiny`.

For comparison, the paper's own table (Harvard; `qp` / `vif` / `ssim` as it defines them): without SCPM .5343 / .3046 /
.2645, without TCPM .5221 / .3016 / .2824, full .5665 / .3190 / .3639.
"""
