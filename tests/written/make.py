"""Write the files of this version that later versions are held against: `python -m tests.written.make`.

They lie in `tests/written/SCHEMA_VERSION/` and are written once, before the version is released; afterwards a change of
what jobs leave raises SCHEMA_VERSION and adds a folder beside the others.
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pipelines.cluster.ray_cluster import Cluster
from pipelines.evaluate.config import EvaluateConfig
from pipelines.evaluate.folder import EvaluationFolder
from pipelines.evaluate.job import evaluate
from pipelines.evaluate.plan import plan_evaluation
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.job import fuse
from pipelines.fuse.plan import plan_fuse
from pipelines.storage import objects as storage
from pipelines.storage.schema_version import SCHEMA_VERSION
from pipelines.train.state import write_state
from tests import training
from tests.archives import make_pair
from tests.object_store import ObjectStore, chosen_kind
from tests.training import make_start
from upfusion.checkpoint import Checkpoint, Provenance, parse_checkpoint
from upfusion.learner import Batch, Learner, Recipe

CONFIG = replace(training.CONFIG, channels=4, prior_widths=(4, 4, 4, 4))
BUCKET = "upfusion-written"
"""Rows name their images by URI, so the files have to lie where they lay when the rows were written."""
METRICS = ("ssim", "en")
SETS = {"sets": (f"streets=s3://{BUCKET}/archive",), "methods": ("mean", "a"), "metrics": METRICS}


def fuse_config(**settings: Any) -> FuseConfig:
    """Return what the fused pairs were made with."""
    source, out, model = (f"s3://{BUCKET}/{name}" for name in ("archive", "fused", "model.safetensors"))
    told = {"source": source, "out": out, "model": model, "metrics": METRICS, "images": "both", "no_tracking": True}
    return FuseConfig(**told | {"runner": "inline"} | settings)


def start_of_training() -> Checkpoint:
    """Make what the training begins with; its weights do not matter to a state."""
    with tempfile.NamedTemporaryFile() as file:
        return parse_checkpoint(make_start(Path(file.name), CONFIG).read_bytes(), "start")


def learner(start: Checkpoint) -> Learner:
    """Return what the state of a training belongs to."""
    return Learner(start.build_network(), Recipe(steps=8, ema=0.9, warm_up=2))


def batch(seed: int) -> Batch:
    """Return crops that are the same in every version."""
    a, b = (torch.linspace(0, 1, 2 * 48 * 48).reshape(2, 1, 48, 48).roll(seed + 17 * side) for side in (1, 2))
    return Batch(a, b, torch.ones(2, CONFIG.text_dim))


def upload(folder: Path) -> None:
    """Put what lies in a folder where it lay when it was written."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            storage.write_bytes(f"s3://{BUCKET}/{file.relative_to(folder)}", file.read_bytes())


def main() -> None:
    """Fuse, evaluate and train a little, and keep what that leaves."""
    folder = Path(__file__).parent / str(SCHEMA_VERSION)
    folder.mkdir()
    for seed, name in enumerate(("broken", "night/one", "two")):
        make_pair(folder / "archive", name, size=(40, 32), seed=seed)
    (folder / "archive" / "visible" / "broken.png").write_text("not an image")

    start = start_of_training()
    trained = learner(start)
    for seed in range(3):
        trained.learn([batch(seed)])
    write_state(folder / "state.safetensors", trained.state(), {"step": 2, "value": 0.5})
    provenance = Provenance(data="crops of tests/written/make.py", notes=("three steps, for tests",))
    model = Checkpoint(
        name="mini", config=CONFIG, weights=trained.weights(), prompts=start.prompts, provenance=provenance
    )
    (folder / "model.safetensors").write_bytes(model.to_bytes())
    loss = float(trained.learn([batch(3)])["loss"])

    with tempfile.TemporaryDirectory() as state:
        store = ObjectStore(chosen_kind(), Path(state))
        store.start()
        try:
            store.new_bucket(BUCKET)
            upload(folder)
            with Cluster():
                fuse(plan_fuse(fuse_config()))
                out = f"s3://{BUCKET}/evaluated"
                evaluate(plan_evaluation(EvaluateConfig(**SETS, out=out, no_tracking=True, no_pictures=True)))
            for name in ("fused", "evaluated/rows", "evaluated/run.json"):
                for uri in storage.list_files(f"s3://{BUCKET}/{name}"):
                    if not uri.endswith(".html"):
                        file = folder / uri.removeprefix(f"s3://{BUCKET}/")
                        file.parent.mkdir(parents=True, exist_ok=True)
                        file.write_bytes(storage.read_bytes(uri))
            values = {row["key"]: row["ssim"] for row in EvaluationFolder(out).read_rows(METRICS).to_pylist()}
        finally:
            store.stop()
    expected = {"digest": model.digest, "next_loss": loss, "evaluated_ssim": values}
    (folder / "expected.json").write_text(json.dumps(expected, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
