"""An ablation in miniature: variants trained, or given, and compared; prompts exchanged."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pipelines import storage
from pipelines.ablate import ablate, plan_ablation
from pipelines.ablate_config import AblateConfig
from pipelines.models import read_model
from pipelines.request import RequestError
from pipelines.train import Listener
from tests.archives import make_archive
from tests.training import CONFIG, SETTINGS
from upfusion.checkpoint import locate_checkpoint
from upfusion.presets import PRESETS
from upfusion.prompt_exchange import EXCHANGES

# The prompts of the package are those of this encoder.
SMALL = replace(CONFIG, text_encoder="all-MiniLM-L6-v2", text_dim=384, text_hidden=8)
RECIPE = SETTINGS | {"preset": "small", "epochs": 1.0, "validate_every": 1.0, "learning_rate": 2e-3}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "small", SMALL)
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")


def config(folder: Path, **settings: object) -> AblateConfig:
    told = {"sets": (f"streets={folder / 'test'}",), "data": (str(folder / "pairs"),), "out": str(folder / "out")}
    told |= {"recipe": str(folder / "recipe.yaml"), "parts": ("scpm",), "metrics": ("vif", "vif_balanced")}
    told |= {"sheet_pairs": 0, "gpus_per_actor": 0, "no_tracking": True}
    return AblateConfig.model_validate(told | settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_archive(tmp_path / "pairs", 10)
    make_archive(tmp_path / "test", 2)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    return tmp_path


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_variants_are_trained_or_taken_and_compared_and_prompts_exchanged(folder: Path) -> None:
    trained = []

    def on_training(name: str) -> Listener:
        trained.append(name)
        return Listener()

    given = f"full={locate_checkpoint('tiny')}"
    ablation = ablate(plan_ablation(config(folder, variants=(given,))), on_training=on_training)

    assert trained == ["without-scpm"]
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
    with pytest.raises(RequestError, match=r"set .*nowhere"):
        plan_ablation(config(folder, sets=("nowhere",)))
    with pytest.raises(RequestError, match=r"no model 'gone\.safetensors'"):
        plan_ablation(config(folder, variants=("full=gone.safetensors",)))
    (folder / "recipe.yaml").write_text("speed: high")
    with pytest.raises(RequestError, match=r"--recipe .*recipe\.yaml: speed"):
        plan_ablation(config(folder))
    assert not (folder / "out").exists()
