"""An ablation in miniature: variants given, or trained before, and compared; prompts exchanged."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pipelines.ablate.config import AblateConfig
from pipelines.ablate.job import AblationPlan, ablate, plan_ablation
from pipelines.checkpoints.read import read_model
from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage
from pipelines.storage.ownership import write_claim
from pipelines.storage.parquet import write_table
from pipelines.train.data import CHECKED
from pipelines.train.folder import RunFolder
from pipelines.train.job import Listener
from tests.archives import make_archive
from tests.training import CONFIG, SETTINGS
from upfusion.checkpoint import Provenance, locate_checkpoint
from upfusion.presets import PRESETS
from upfusion.prompt_exchange import EXCHANGES

# The prompts of the package are those of this encoder.
SMALL = replace(CONFIG, text_encoder="all-MiniLM-L6-v2", text_dim=384, text_hidden=8)
RECIPE = SETTINGS | {"preset": "small", "epochs": 1.0, "validate_every": 1.0, "learning_rate": 2e-3}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "small", SMALL)


def config(folder: Path, **settings: object) -> AblateConfig:
    told = {"sets": (f"streets={folder / 'test'}",), "data": (str(folder / "pairs"),), "out": str(folder / "out")}
    told |= {"recipe": str(folder / "recipe.yaml"), "parts": ("scpm",), "metrics": ("vif", "vif_balanced")}
    told |= {"no_pictures": True, "gpus_per_actor": 0, "no_tracking": True}
    return AblateConfig.model_validate(told | settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_archive(tmp_path / "pairs", 10)
    make_archive(tmp_path / "test", 2)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    return tmp_path


def finish_training(plan: AblationPlan, name: str) -> None:
    """Leave what a run of training leaves behind that has come to its end."""
    run = plan.runs[name]
    folder = RunFolder(run.config.out)
    trained = replace(run.start, provenance=Provenance(data="streets"))
    write_claim(folder.uri, run.run)
    storage.write_bytes(folder.model, trained.to_bytes())
    write_table(folder.data, CHECKED.empty_table())
    summary = {"steps": 3, "best": None, "tracked": None, "registered": None}
    storage.write_bytes(folder.success, json.dumps(summary).encode())


def test_each_variant_is_planned_without_its_part_and_with_the_recipe(folder: Path) -> None:
    plan = plan_ablation(config(folder, parts=("scpm", "text")))
    configs = {name: run.start.config for name, run in plan.runs.items()}
    assert {name: (made.scpm, made.text) for name, made in configs.items()} == {
        "full": (True, True),
        "without-scpm": (False, True),
        "without-text": (True, False),
    }
    assert {run.config.learning_rate for run in plan.runs.values()} == {RECIPE["learning_rate"]}
    assert not (folder / "out").exists()


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.usefixtures("ray_here")
def test_variants_are_taken_from_where_they_are_and_compared_and_prompts_exchanged(folder: Path) -> None:
    asked = []

    def on_training(name: str) -> Listener:
        asked.append(name)
        return Listener()

    plan = plan_ablation(config(folder, variants=(f"full={locate_checkpoint('tiny')}",)))
    finish_training(plan, "without-scpm")
    ablation = ablate(plan, on_training=on_training)

    assert asked == ["without-scpm"]
    assert [variant.name for variant in ablation.variants] == ["full", "without-scpm"]
    full, without_scpm = ablation.variants
    assert without_scpm.parameters < full.parameters
    checkpoint, _ = read_model(str(folder / "out" / "variants" / "without-scpm" / "model.safetensors"))
    assert (checkpoint.config.scpm, checkpoint.config.gam) == (False, True)
    assert all(set(variant.means) == {"vif", "vif_balanced"} for variant in ablation.variants)
    assert full.means != without_scpm.means

    assert [one.name for one in ablation.exchanges] == list(EXCHANGES)
    changes = {one.name: one.levels for one in ablation.exchanges}
    assert changes["right"] == 0
    assert changes["noise"] > 0
    page = storage.read_bytes(ablation.page).decode()
    for name in ("full", "without-scpm", *EXCHANGES):
        assert name in page


def test_what_cannot_work_is_refused_before_anything_is_trained(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"set .*nowhere"):
        plan_ablation(config(folder, sets=("nowhere",)))
    with pytest.raises(UsageError, match=r"'gone\.safetensors'"):
        plan_ablation(config(folder, variants=("full=gone.safetensors",)))
    (folder / "recipe.yaml").write_text("speed: high")
    with pytest.raises(UsageError, match=r"--recipe.*recipe\.yaml"):
        plan_ablation(config(folder))
    assert not (folder / "out").exists()
